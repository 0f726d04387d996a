"""What a checkpoint says of itself, so that it can be used without the data it has learnt from."""

from typing import Any

from dlrun.config.typed import Typed
from dlrun.data.info import DataInfo
from dlrun.errors import UserError

_KEPT = ("data", "pixels", "parts", "step", "val_step", "val", "is_file")


_OF_A_RUN = {"config", "data", "pixels", "parts", "method", "step", "val", "val_step", "inputs"}


def demand_run(content: dict[str, Any], source: str) -> None:
    """Raises UserError where a checkpoint lacks something that those of runs have."""
    if missing := _OF_A_RUN - set(content):
        raise UserError(
            f"{source}: not a checkpoint of a run (it lacks {', '.join(sorted(missing))})"
        )


def outline(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's own description and the shapes of its tensors, without their values."""
    plain = content["config"]
    kept = {"method": {"name": plain["method"]["name"]}, "model": plain["model"]}
    shapes = {name: list(tensor.shape) for name, tensor in content["method"].items()}
    own = {name: content[name] for name in _KEPT if name in content}
    return own | {"config": {**kept, "dataset": plain["dataset"]}, "shapes": shapes}


def info_in(content: dict[str, Any], source: str) -> DataInfo:
    """What a checkpoint says of the data set that its method has learnt from.

    Raises:
        UserError: it does not, or not as this dlrun does.
    """
    typed, given = Typed(), content.get("data")
    info = typed.build(DataInfo, given, "data") if isinstance(given, dict) else None
    if typed.problems or not isinstance(info, DataInfo):
        reason = typed.problems[0] if typed.problems else "it does not describe its data set"
        raise UserError(f"{source}: not a checkpoint of a run ({reason})")
    return info
