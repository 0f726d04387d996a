"""A trained model on a split of its own data set, or of another one."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dlrun.config.typed import Typed
from dlrun.data.open import open_dataset
from dlrun.data.table import DataSet, Table
from dlrun.errors import ConfigError, UserError
from dlrun.evaluation.evaluate import evaluate
from dlrun.evaluation.inference import Inference
from dlrun.files import read_json
from dlrun.runs.folder import RunFolder
from dlrun.training.hardware import pick_precision
from dlrun.use.matching import matched
from dlrun.use.model import TrainedModel

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Judged:
    """Numbers of a split, beside those that were recorded of the same weights and images."""

    dataset: str
    split: str
    images: int
    numbers: dict[str, float]
    recorded: dict[str, float]
    """Empty where nothing was, or where the images are others."""
    notes: tuple[str, ...]


def judge(
    model: TrainedModel, data: DataSet, split: str, recorded: dict[str, float], notes: list[str]
) -> Judged:
    """Every metric that applies, as at the end of a training.

    Raises:
        UserError: the split is empty, or the images or classes are not what the model knows.
    """
    table: Table = getattr(data, split)
    if not len(table):
        raise UserError(f"{data.name}: has no {split} split; give --split or dataset.val_fraction")
    known, same = matched(model, data)
    inference = Inference(
        model.method, known, model.scale, model.device, model.memory_format,
        lambda: autocast_of(model),
    )  # fmt: skip
    numbers = evaluate(inference, split, int(model.config["seed"]))
    if not same:  # a linear classifier of other classes
        numbers.pop("probe_accuracy", None)
        notes = [*notes, f"its classes are not those of {model.source}: no class was predicted"]
    return Judged(data.name, split, len(table), numbers, recorded, tuple(notes))


def open_for(
    model: TrainedModel, section: dict[str, Any], given: Sequence[str], data_dir: str | None
) -> DataSet:
    """A data set whose images have the model's shape, where its options can bring that about.

    Args:
        model: what it is for.
        section: the options of the data set, plain.
        given: keys that the user has typed, which are left as they are.
        data_dir: where data is kept.

    Raises:
        UserError: it cannot be had, or its images have another shape.
    """
    channels, height, width = model.image_shape
    for key, value in (("size", height), ("channels", channels)):
        if key in section and f"dataset.{key}" not in given and height == width:
            section = {**section, key: value}
    composed = any(key == "dataset" or "@" in key for key in given)  # then none of it is the file's
    typed = Typed(own_code=composed or not model.is_file)
    choice = typed.choice("dataset", section, "dataset")
    if typed.problems:
        raise ConfigError(typed.problems)
    data = open_dataset(choice, data_dir)
    if data.image_shape != model.image_shape:
        raise UserError(
            f"dataset={choice.name}: its images are {_shape(data.image_shape)}, {model.source} "
            f"knows those of {_shape(model.image_shape)}"
        )
    return data


def recorded_of(model: TrainedModel, folder: RunFolder | None, split: str) -> dict[str, float]:
    """What was written down of these weights on `split` during and after the training."""
    if split == "val":
        return dict(model.val) if model.content.get("val_step") == model.step else {}
    if folder is None:
        return {}
    summary = read_json(folder.summary)
    steps = {"last": summary.get("steps"), "best": summary.get("best", {}).get("step")}
    which = next((which for which, step in steps.items() if step == model.step), None)
    numbers: dict[str, float] = summary.get("test", {}).get(which, {})
    return numbers


def write_tensorboard(judged: Judged, folder: Path, step: int) -> None:
    """As scalars evaluate/DATASET/SPLIT/METRIC of the run."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for name, value in judged.numbers.items():
            writer.add_scalar(f"evaluate/{judged.dataset}/{judged.split}/{name}", value, step)


def autocast_of(model: TrainedModel) -> AbstractContextManager[object]:
    """The precision of the training, where this machine has it."""
    asked = model.config["hardware"]["precision"]
    if asked == "fp16" and model.device.type == "cpu":
        asked = "auto"
    precision = pick_precision(asked, model.device, model.config["method"]["name"])[0]
    dtype = _DTYPES.get(precision)
    return torch.autocast(model.device.type, dtype=dtype, enabled=dtype is not None)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(side) for side in shape)
