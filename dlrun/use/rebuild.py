"""A checkpoint back to its method: without the data, other runs, or an option repeated."""

from typing import Any

import torch

from dlrun.config.typed import Typed
from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.base import Builder, Method
from dlrun.models.pretrained import Pretrained
from dlrun.registry import lookup
from dlrun.runs.folder import RunFolder
from dlrun.training.inputs import trained_of
from dlrun.training.outline import info_in


def rebuild(
    content: dict[str, Any], source: str, folder: RunFolder | None
) -> tuple[Method, DataInfo, torch.memory_format]:
    """The method with its weights, in eval mode on the CPU; nothing global changes.

    Args:
        content: of a checkpoint.
        source: the checkpoint, for people.
        folder: the run that it belongs to; None of a bare file, which may not name code to run.

    Returns:
        The method, what it knows of its data set, and how its images should lie in memory.

    Raises:
        UserError: it cannot be built again as this dlrun and its code are now.
    """
    plain = content["config"]
    parts = {group: _begun_anew(plain[group]) for group in ("method", "model", "loss")}
    typed = Typed(own_code=folder is not None)
    choices = {group: typed.choice(group, part, group) for group, part in parts.items()}
    if typed.problems:
        raise UserError(f"{source}: cannot be built again by this dlrun ({typed.problems[0]})")
    info = info_in(content, source)
    cls: type[Method] = lookup("method", choices["method"].name)
    build = Builder(
        choices["model"], choices["loss"], info, float(plain.get("epochs", 1)),
        content.get("rows", 0), pretrained=Remembered(content["inputs"], source),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # the weights that it begins with are drawn
        method = cls(choices["method"].options, build)
    try:
        method.load_state_dict(content["method"])
    except RuntimeError as error:
        first = " ".join(str(error).split())[:160]
        raise UserError(f"{source}: does not fit its method as the code is now ({first})") from None
    method.requires_grad_(False)
    last = bool(build.built) and all(getattr(n, "channels_last", False) for n in build.built)
    memory_format = torch.channels_last if last else torch.contiguous_format
    return method.eval().to(memory_format=memory_format), info, memory_format


class Remembered:
    """Stands for `Inputs` where a method is rebuilt to be filled with its checkpoint's weights.

    They hold whatever was taken over long ago, so its shapes are all that is needed.

    Args:
        taken: what `Inputs.taken` was.
        source: the checkpoint, for people.
    """

    def __init__(self, taken: dict[str, dict[str, Any]], source: str) -> None:
        self.taken, self.source = taken, source

    def __call__(self, reference: str) -> Pretrained:
        """The outline of `reference`; its tensors are zeros of the right shapes."""
        outline = self.taken[reference]
        state = {name: torch.zeros(()).expand(shape) for name, shape in outline["shapes"].items()}
        return trained_of({**outline, "method": state}, reference, {})


def _begun_anew(part: Any) -> Any:
    """Where a network once began does not matter: its weights are in the checkpoint."""
    if isinstance(part, dict):
        aside = ("init_from", "freeze")
        return {k: None if k in aside else _begun_anew(item) for k, item in part.items()}
    return part
