"""Evaluating a trained model on a split of its own data set, or of another one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.evaluation.evaluate import evaluate
from dlrun.files import naming
from dlrun.runs.folder import RunFolder
from dlrun.runs.loggers import summary_writer
from dlrun.runs.run import Run
from dlrun.use.data import matched, open_data
from dlrun.use.model import TrainedModel


@dataclass(frozen=True)
class Evaluation:
    """The metrics on a split, and those recorded for the same weights and images."""

    run: str
    method: str
    step: int
    dataset: str
    split: str
    images: int
    numbers: dict[str, float]
    recorded: dict[str, float]
    """Empty if nothing was recorded, or if the images differ."""
    notes: list[str]


def evaluate_model(
    model: TrainedModel, folder: RunFolder | None, split: str, overrides: Sequence[str] = ()
) -> Evaluation:
    """Every metric that applies, as at the end of training.

    Args:
        model: to evaluate.
        folder: of its run, None for a bare file.
        split: train, val or test.
        overrides: of the data set, see `open_data`.

    Raises:
        UserError: the split is empty, or the model does not know its classes.
    """
    data, is_same = open_data(model, overrides)
    notes = [*data.report] if overrides else []
    table: Table = getattr(data, split)
    if not len(table):
        raise UserError(f"{data.name}: has no {split} split; set --split or dataset.val_fraction")
    known, is_known = matched(model, data)
    numbers = evaluate(model.inference(known), split, int(model.config["seed"]))
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
    """The metrics of these weights on `split`, recorded during or after training."""
    if split == "val":
        return dict(model.val) if model.content.get("val_step") == model.step else {}
    if folder is None:
        return {}
    run = Run(folder.path)
    steps = {"last": run.summary.get("steps"), "best": run.best.get("step")}
    return next((run.test(which) for which, step in steps.items() if step == model.step), {})


def write_tensorboard(evaluation: Evaluation, folder: Path) -> None:
    """As scalars evaluate/DATASET/SPLIT/METRIC of the run."""
    tag = f"evaluate/{evaluation.dataset}/{evaluation.split}"
    with naming(folder), summary_writer(folder) as writer:
        for name, value in evaluation.numbers.items():
            writer.add_scalar(f"{tag}/{name}", value, evaluation.step)
