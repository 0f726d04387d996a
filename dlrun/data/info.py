"""What is known of a data set without its images: for networks, checkpoints and people."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dlrun.data.table import DataSet


@dataclass(frozen=True)
class Column:
    """An attribute of the images.

    `classes`: how many it has, None for a number. `mean` and `std` are those of the known values of
    the train split.
    """

    classes: int | None
    mean: float
    std: float


@dataclass(frozen=True)
class Domain:
    """One of the two sides of an unpaired data set: its name, its label, its train images."""

    name: str
    label: int
    images: int


@dataclass(frozen=True)
class DataInfo:
    """What networks have to know of a data set.

    `image_shape` is (C, H, W). `mean` and `std` are those of each channel in [0, 1]; `checksum` is
    of images, labels and attributes; `domains` are A and B, or none; `positive` is the class that
    counts as positive; `value_names` name the values of an attribute by their number;
    `doubts` are columns that may be classes or numbers, and why; `bits` are those that images of
    16 bits use, so that 2^bits - 1 is white.
    """

    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    attributes: Mapping[str, Column] = field(default_factory=dict)
    checksum: str | None = None
    domains: tuple[Domain, ...] = ()
    positive: int | None = None
    value_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict)
    bits: int = 16


def info_of(data: DataSet) -> DataInfo:
    """What is known of `data`, without its images."""
    return DataInfo(
        data.image_shape,
        data.class_names,
        tuple(data.mean.tolist()),
        tuple(data.std.tolist()),
        {name: _column(data, name) for name in data.train.attributes},
        data.checksum,
        _domains(data),
        data.positive,
        data.value_names,
        data.doubts,
        data.bits,
    )


def facts_of(info: DataInfo, images: Mapping[str, int]) -> dict[str, Any]:
    """What has to be the same when a run is resumed or taken over, as plain values.

    `images` has the number of each split.
    """
    names = {column: list(info.value_names.get(column, ())) for column in sorted(info.attributes)}
    return {
        "checksum": info.checksum,
        "classes": list(info.class_names),
        "columns": names,
        "images": dict(images),
    }


def sizes_of(data: DataSet) -> dict[str, int]:
    """The number of images of each split."""
    return {split: len(getattr(data, split)) for split in ("train", "val", "test")}


def _domains(data: DataSet) -> tuple[Domain, ...]:
    labels = data.train.labels
    if data.domains is None or labels is None:
        return ()
    return tuple(Domain(data.class_names[c], c, int((labels == c).sum())) for c in data.domains)


def _column(data: DataSet, name: str) -> Column:
    """Of the train split; but a class may be found in any. Missing values are NaN or -1."""
    values: Tensor = data.train.attributes[name]
    is_number = values.is_floating_point()
    known = values[~values.isnan() if is_number else values >= 0].double()
    classes = None
    if not is_number:
        tables = [table for table in (data.train, data.val, data.test) if len(table)]
        largest = max(int(table.attributes[name].max()) for table in tables)
        classes = len(data.value_names.get(name, ())) or largest + 1
    std = float(known.std()) if len(known) > 1 else 0.0
    return Column(classes, float(known.mean()) if len(known) else 0.0, std or 1.0)
