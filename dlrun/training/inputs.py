"""What a run takes from other runs: found by name, checked, and kept in its own folder."""

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from dlrun.config.typed import Typed
from dlrun.errors import UserError
from dlrun.models.pretrained import Pretrained
from dlrun.options import Choice
from dlrun.runs.folder import RunFolder
from dlrun.runs.select import located
from dlrun.training import checkpoint
from dlrun.training.outline import demand_run, info_in, outline

# Torchvision's own state dicts; `dlrun.models.torchvision_models` keeps its names below this.
_TORCHVISION_PARTS = {"backbone": ""}
_TORCHVISION_PREFIX = "network."


class Inputs:
    """Looks up trained weights for one run, and keeps a copy of them in its folder.

    So a run can be resumed and judged after the run that it began with is gone.
    """

    def __init__(self, folder: RunFolder, outputs: Path, plain_dataset: dict[str, Any]) -> None:
        self.folder, self.outputs, self.plain_dataset = folder, outputs, plain_dataset
        self.taken: dict[str, dict[str, Any]] = {}
        """What was looked up: what a checkpoint has to know of it to be rebuilt without it."""

    def __call__(self, reference: str) -> Pretrained:
        """The weights that `reference`, a run or a file, stands for.

        Raises:
            UserError: there is none, or it is no checkpoint.
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
    """What a checkpoint, or a plain state dict, says of itself and holds.

    Raises:
        UserError: it says too little, or names code and is a file.
    """
    if "state_dict" in content:
        return Pretrained(reference, _prefixed(content["state_dict"]), _TORCHVISION_PARTS)
    plain = content["config"]
    # A checkpoint between two evaluations holds the numbers of weights that are no more.
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
    """Its options but for `positive`, which says nothing of the images and older runs lack."""
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
    # It is rebuilt to be filled; where it began once does not matter now.
    fresh = {key: None if key in ("init_from", "freeze") else item for key, item in plain.items()}
    choice = typed.choice("model", fresh, "model")
    if typed.problems:
        raise UserError(f"{reference}: its model cannot be built again ({typed.problems[0]})")
    assert isinstance(choice, Choice)
    return choice
