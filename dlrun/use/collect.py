"""Features of many images, with their names and classes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dlrun.data.sources.decoding import decode_file
from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.use.files import printable, stream
from dlrun.use.judging import open_for
from dlrun.use.model import TrainedModel


@dataclass(frozen=True)
class Collected:
    """Features (N, D) float32; `thumbnails` uint8 (N, C, H, W), or none of them."""

    name: str
    """Of the whole, for a file's name."""
    features: Tensor
    names: list[str]
    labels: list[str] | None
    thumbnails: Tensor
    bad: list[tuple[str, str]]


def of_split(model: TrainedModel, split: str) -> Collected:
    """Of the data set that the run was trained on.

    Raises:
        UserError: it cannot be had, or has no such split.
    """
    data = open_for(model, model.config["dataset"], (), model.config.get("data_dir"))
    table: Table = getattr(data, split)
    if not len(table):
        raise UserError(f"{data.name}: has no {split} split; give --split, or images")
    labels = None
    if table.labels is not None:
        labels = [data.class_names[label] for label in table.labels.tolist()]
    names = [f"{data.name}/{split}/{row}" for row in range(len(table))]
    features = model.features(table.images)
    return Collected(split, features, names, labels, table.images, [])


def of_files(
    model: TrainedModel, paths: list[str], thumbnails: bool, advance: Callable[[int], None]
) -> Collected:
    """Of files; the class of an image is the folder that it lies in, if there are several."""
    features, pictures, names, bad = [], [], [], []
    for batch in stream(paths, lambda path: decode_file(path, model.image_shape)):
        good = [(read.path, read.value) for read in batch if read.value is not None]
        bad += [(read.path, read.why) for read in batch if read.value is None]
        if good:
            table = torch.stack([pixels for _, pixels in good])
            features.append(model.features(table))
            names += [printable(path) for path, _ in good]
            if thumbnails:
                pictures.append(table)
        advance(len(batch))
    folders = [Path(name).parent.name for name in names]
    labels = folders if len(set(folders)) > 1 else None
    return Collected(
        "images",
        torch.cat(features) if features else torch.empty(0, 0),
        names, labels,
        torch.cat(pictures) if pictures else torch.empty(0, *model.image_shape).byte(),
        bad,
    )  # fmt: skip
