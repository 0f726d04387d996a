"""Weights that a run starts from: found by name, checked, and copied into its own folder."""

import hashlib
import math
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from dlrun.config.typed import Typed
from dlrun.data.info import DataInfo
from dlrun.data.table import Pixels
from dlrun.errors import UserError
from dlrun.models.pretrained import Pretrained
from dlrun.options import Choice
from dlrun.runs.folder import RunFolder
from dlrun.runs.select import located
from dlrun.runs.shapes import CHECKPOINT, misfit
from dlrun.training import checkpoint

# Torchvision's own state dicts; `dlrun.models.torchvision_models` keeps its names below this.
_TORCHVISION_PARTS = {"backbone": ""}
_TORCHVISION_PREFIX = "network."
_LARGEST_IMAGE = 2**26  # numbers
_KEPT = ("data", "pixels", "parts", "step", "val_step", "val", "is_file")


class Inputs:
    """Looks up trained weights for one run, and keeps a copy of them in its folder.

    So a run can be resumed and evaluated after the run that it started from is deleted.
    """

    def __init__(self, folder: RunFolder, outputs: Path, plain_dataset: dict[str, Any]) -> None:
        self.folder, self.outputs, self.plain_dataset = folder, outputs, plain_dataset
        self.taken: dict[str, dict[str, Any]] = {}
        """What was looked up: what a checkpoint has to know of it to be rebuilt without it."""

    def __call__(self, reference: str) -> Pretrained:
        """The weights of `reference`, a run or a file.

        Raises:
            UserError: there is none, or it is not a checkpoint.
        """
        digest = hashlib.sha1(reference.encode(), usedforsecurity=False).hexdigest()[:8]
        kept = self.folder.inputs / f"{digest}.pt"
        if not kept.exists():
            path = located(reference, self.outputs, "trained weights")
            content = _slim(path) | {"is_file": path.is_file()}
            kept.parent.mkdir(exist_ok=True)
            checkpoint.save(kept, content)
        content = checkpoint.load(kept)
        if "state_dict" not in content:
            demand_run(content, reference)
            self.taken[reference] = outline(content)
        return trained_of(content, reference, self.plain_dataset)


def trained_of(
    content: dict[str, Any], reference: str, plain_dataset: dict[str, Any]
) -> Pretrained:
    """The weights in a checkpoint or a plain state dict, with what it says about them.

    Raises:
        UserError: it says too little, or it is a bare file that names code.
    """
    if "state_dict" in content:
        return Pretrained(reference, _prefixed(content["state_dict"]), _TORCHVISION_PARTS)
    plain = content["config"]
    # A checkpoint between two evaluations holds the metrics of earlier weights.
    current = content["val_step"] == content["step"]
    return Pretrained(
        source=reference,
        state=content["method"],
        parts=content["parts"],
        method=plain["method"]["name"],
        model=_model(plain["model"], reference, content.get("is_file", True)),
        info=info_in(content, reference),
        pixels=content["pixels"],
        step=content["step"],
        accuracy=content["val"].get("accuracy") if current else None,
        same_options=_images_of(plain["dataset"]) == _images_of(plain_dataset),
    )


def _slim(path: Path) -> dict[str, Any]:
    """The checkpoint without what only training needs; of a run, the best one."""
    if path.is_dir():
        folder = RunFolder(path.absolute())
        best = folder.best if folder.best.exists() else folder.last
        content = checkpoint.load_own(folder, best)
    elif checkpoint.is_checkpoint(path):
        content = checkpoint.load(path)
    else:
        return {"state_dict": checkpoint.load_state_dict(path)}
    return {
        key: value
        for key, value in content.items()
        if key not in ("format", "optimizers", "scaler", "pending")
    }


def _images_of(dataset: dict[str, Any]) -> dict[str, Any]:
    """Its options without `positive`, which does not change the images."""
    return {
        key: _images_of(item) if isinstance(item, dict) else item
        for key, item in dataset.items()
        if key != "positive"
    }


def _prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{_TORCHVISION_PREFIX}{name}": value for name, value in state.items()}


def _model(plain: dict[str, Any], reference: str, is_file: bool) -> Choice:
    """The typed options of the network that was trained."""
    typed = Typed(own_code=not is_file)
    choice = typed.choice("model", fresh(plain), "model")
    if typed.problems:
        raise UserError(f"{reference}: its model cannot be rebuilt ({typed.problems[0]})")
    assert isinstance(choice, Choice)
    return choice


def fresh(plain: Any) -> Any:
    """The options of a network without the weights it started from: a checkpoint has its own."""
    if not isinstance(plain, dict):
        return plain
    skipped = ("init_from", "freeze")
    return {key: None if key in skipped else fresh(item) for key, item in plain.items()}


def demand_run(content: dict[str, Any], source: str) -> None:
    """Raises UserError where a checkpoint says less, or other things, than that of every run."""
    wrong = misfit(content, CHECKPOINT)
    if not wrong and content["pixels"] not in get_args(Pixels):
        wrong = f"pixels: expected one of {', '.join(get_args(Pixels))}"
    if wrong := wrong or _odd_tensor(content["method"]) or _odd_pending(content.get("pending")):
        raise UserError(f"{source}: not a checkpoint of a run ({wrong})")
    info_in(content, source)


def _odd_tensor(state: dict[str, Any]) -> str | None:
    """Why this is no state dict, in words."""
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
            return f"method.{name}: expected a dense tensor"
    return None


def _odd_pending(pending: list[dict[str, Any]] | None) -> str | None:
    """Why these are not the metrics of steps: scalars of the same names."""
    for row in pending or ():
        scalars = [value for value in row.values() if isinstance(value, Tensor) and not value.ndim]
        if row.keys() != (pending or [row])[0].keys() or len(scalars) < len(row):
            return "pending: expected scalar tensors, the same of each step"
    return None


def outline(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's own description and the shapes of its tensors, without their values."""
    plain = content["config"]
    kept = {"method": {"name": plain["method"]["name"]}, "model": plain["model"]}
    shapes = {name: list(tensor.shape) for name, tensor in content["method"].items()}
    own = {name: content[name] for name in _KEPT if name in content}
    return own | {"config": {**kept, "dataset": plain["dataset"]}, "shapes": shapes}


def info_in(content: dict[str, Any], source: str) -> DataInfo:
    """What a checkpoint says about the data set that its method was trained on.

    Raises:
        UserError: it says nothing, or something that this dlrun cannot read.
    """
    typed, given = Typed(), content.get("data")
    info = typed.build(DataInfo, given, "data") if isinstance(given, dict) else None
    if typed.problems or not isinstance(info, DataInfo):
        reason = typed.problems[0] if typed.problems else "it does not describe its data set"
        raise UserError(f"{source}: not a checkpoint of a run ({reason})")
    if wrong := _impossible(info):
        raise UserError(f"{source}: not a checkpoint of a run (data.{wrong})")
    return info


def _impossible(info: DataInfo) -> str | None:
    """What no data set can be, in words."""
    channels, classes = info.image_shape[0], len(info.class_names)
    numbers = [info.positive, *(domain.label for domain in info.domains)]
    if min(info.image_shape) < 1 or math.prod(info.image_shape) > _LARGEST_IMAGE:
        return f"image_shape: {list(info.image_shape)} is no image's"
    if not len(info.mean) == len(info.std) == channels or min(info.std) <= 0:
        return f"mean, std: expected one for each of {channels} channels, and std above 0"
    if any(number is not None and not 0 <= number < classes for number in numbers):
        return f"positive, domains: expected numbers of the {classes} classes"
    return None
