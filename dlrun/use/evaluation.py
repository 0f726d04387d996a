"""Evaluating a trained model on a split of its own data set, or of another one."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.evaluation.evaluate import evaluate
from dlrun.evaluation.inference import Inference
from dlrun.files import read_json
from dlrun.runs.folder import RunFolder
from dlrun.training.hardware import pick_precision
from dlrun.use.data import matched, open_data
from dlrun.use.model import TrainedModel

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Evaluation:
    """Metrics on a split, and those that were recorded for the same weights and images."""

    run: str
    method: str
    step: int
    dataset: str
    split: str
    images: int
    numbers: dict[str, float]
    recorded: dict[str, float]
    """Empty if nothing was recorded, or if the images are different."""
    notes: list[str]


def evaluate_model(
    model: TrainedModel, folder: RunFolder | None, split: str, overrides: Sequence[str] = ()
) -> Evaluation:
    """Every metric that applies, as at the end of a training.

    Args:
        model: to be evaluated.
        folder: of its run, None for a bare file.
        split: train, val or test.
        overrides: of the data set, as for `open_data`.

    Raises:
        UserError: the split is empty, or the model does not know its classes.
    """
    data, is_same = open_data(model, overrides)
    notes = []
    table: Table = getattr(data, split)
    if not len(table):
        raise UserError(f"{data.name}: has no {split} split; set --split or dataset.val_fraction")
    known, is_known = matched(model, data)
    inference = Inference(
        model.method, known, model.scale, model.device, model.memory_format,
        lambda: autocast_of(model),
    )  # fmt: skip
    numbers = evaluate(inference, split, int(model.config["seed"]))
    if not is_same and not overrides:
        notes.append("the data set is not the one that the run was trained on any more")
    if not is_known:  # the linear probe has learned other classes
        numbers.pop("probe_accuracy", None)
        notes.append(f"its classes are not those of {model.source}; no class was predicted")
    return Evaluation(
        run=str(folder or Path(model.source)),
        method=model.config["method"]["name"],
        step=model.step,
        dataset=data.name,
        split=split,
        images=len(table),
        numbers=numbers,
        recorded=_recorded(model, folder, split) if is_same else {},
        notes=notes,
    )


def _recorded(model: TrainedModel, folder: RunFolder | None, split: str) -> dict[str, float]:
    """Metrics of these weights on `split`, recorded during and after the training."""
    if split == "val":
        return dict(model.val) if model.content.get("val_step") == model.step else {}
    if folder is None:
        return {}
    summary = read_json(folder.summary)
    steps = {"last": summary.get("steps"), "best": summary.get("best", {}).get("step")}
    which = next((which for which, step in steps.items() if step == model.step), None)
    numbers: dict[str, float] = summary.get("test", {}).get(which, {})
    return numbers


def write_tensorboard(evaluation: Evaluation, folder: Path) -> None:
    """As scalars evaluate/DATASET/SPLIT/METRIC of the run."""
    from torch.utils.tensorboard import SummaryWriter

    tag = f"evaluate/{evaluation.dataset}/{evaluation.split}"
    with SummaryWriter(str(folder)) as writer:
        for name, value in evaluation.numbers.items():
            writer.add_scalar(f"{tag}/{name}", value, evaluation.step)


def autocast_of(model: TrainedModel) -> AbstractContextManager[object]:
    """The precision of the training, if this machine has it."""
    precision = model.config["hardware"]["precision"]
    if precision == "fp16" and model.device.type == "cpu":
        precision = "auto"
    name = model.config["method"]["name"]
    dtype = _DTYPES.get(pick_precision(precision, model.device, name)[0])
    return torch.autocast(model.device.type, dtype=dtype, enabled=dtype is not None)
