"""What a checkpoint says of itself, so that it can be used without the data it has learnt from."""

from typing import Any

from dlrun.errors import UserError
from dlrun.methods.trained import Column, Domain, Facts

_KEPT = (
    "image_shape", "class_names", "pixels", "parts", "mean", "std", "data_checksum", "step",
    "val_step", "val", "is_file",
)  # fmt: skip


def outline(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's own description and the shapes of its tensors, without their values."""
    plain = content["config"]
    kept = {"method": {"name": plain["method"]["name"]}, "model": plain["model"]}
    shapes = {name: list(tensor.shape) for name, tensor in content["method"].items()}
    own = {name: content[name] for name in _KEPT if name in content}
    return own | {"config": {**kept, "dataset": plain["dataset"]}, "shapes": shapes}


def facts_in(content: dict[str, Any], source: str) -> Facts:
    """What a checkpoint says of the data set that its method has learnt from.

    Raises:
        UserError: it was written before checkpoints said so.
    """
    if "mean" not in content or "class_names" not in content:
        raise UserError(
            f"{source}: was written by a dlrun that did not say what its images are like; train "
            "the run again, or use the dlrun that wrote it"
        )
    columns = content.get("attributes", {}).items()
    return Facts(
        tuple(content["image_shape"]),
        tuple(content["class_names"]),
        tuple(content["mean"]),
        tuple(content["std"]),
        {name: Column(**column) for name, column in columns},
        content["data_checksum"],
        tuple(Domain(**domain) for domain in content.get("domains") or _older_domains(content)),
        content.get("positive"),
        {name: tuple(words) for name, words in content.get("words", {}).items()},
    )


def _older_domains(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Of a checkpoint that does not name them: by its config, or its two classes."""
    names = list(content["class_names"])
    domains = content["config"]["dataset"].get("domains") or (names if len(names) == 2 else [])
    return [{"name": name, "label": names.index(name), "images": 0} for name in domains]
