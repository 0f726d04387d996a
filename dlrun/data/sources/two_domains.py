"""Two data sets as the domains of an unpaired method: horses from one place, deer from another."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dlrun.data.sources.base import DataSource, SourceConfig, Splits
from dlrun.errors import UserError
from dlrun.options import Choice, Group, NonEmpty, Range
from dlrun.registry import lookup
from dlrun.text import suggest

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.data.table import Table

_LUMA = (0.299, 0.587, 0.114)  # grey of red, green and blue: ITU-R BT.601, as Pillow's "L"


class TwoDomains(DataSource):
    """A is all of one data set or a class of it, B of another; their own classes are forgotten."""

    licence = "those of the two data sets that it is made of"

    @dataclass(frozen=True)
    class Config(SourceConfig):
        a: Annotated[Choice, Group("dataset")]
        b: Annotated[Choice, Group("dataset")]
        a_class: NonEmpty | None
        b_class: NonEmpty | None
        size: Annotated[int, Range(4, 4096)] | None  # pixels
        channels: Literal["auto", 1, 3]

    def load(self, config: Any, data_dir: Path) -> Splits:
        """Both, brought to one shape.

        Raises:
            UserError: one of them cannot be loaded, or has no such class.
        """
        both = [
            _one(config.a, config.a_class, "dataset.a_class", data_dir),
            _one(config.b, config.b_class, "dataset.b_class", data_dir),
        ]
        tables = [table for one in both for table in (one.train, one.test)]
        shapes = {table.images.shape[2:] for table in tables}
        side = config.size or max(map(max, shapes))
        size = (side, side) if config.size or len(shapes) > 1 else tuple(*shapes)
        channels = config.channels
        if channels == "auto":
            channels = max(table.images.shape[1] for table in tables)
        names = _names(config)
        told = [(name, line) for name, one in zip(names, both, strict=True) for line in one.notes]
        notes = [f"{name}: {line}" for name, line in told]
        vals = [one.val for one in both if one.val is not None]
        if len(vals) == 1:
            notes.append("val is held out of train: only one of the two domains has a val split")
        return Splits(
            _joined([one.train for one in both], size, channels),
            _joined([one.test for one in both], size, channels),
            names,
            val=_joined(vals, size, channels) if len(vals) == 2 else None,
            held_out=all(one.held_out for one in both),
            bits=max(one.bits for one in both),
            left_out=", ".join(one.left_out for one in both if one.left_out),
            notes=tuple(notes),
        )

    def mirrors(self, config: Any) -> bool:
        """Whether both are still themselves when mirrored."""
        sources = config.a, config.b
        return all(lookup("dataset", one.name)().mirrors(one.options) for one in sources)


def _one(choice: Choice, name: str | None, key: str, data_dir: Path) -> Splits:
    """One data set, or a class of it."""
    splits: Splits = lookup("dataset", choice.name)().load(choice.options, data_dir)
    if name is None:
        return splits
    if not splits.class_names:
        raise UserError(f"{key}: {choice.name} has no classes, expected null")
    if name not in splits.class_names:
        near = suggest(name, [*splits.class_names])
        raise UserError(f"{key}: {name!r} is not one of the classes of {choice.name}{near}")
    number = splits.class_names.index(name)

    def of_class(table: "Table") -> "Table":
        assert table.labels is not None
        return table.subset((table.labels == number).nonzero()[:, 0])

    val = None if splits.val is None else of_class(splits.val)
    return splits._replace(train=of_class(splits.train), test=of_class(splits.test), val=val)


def _names(config: TwoDomains.Config) -> tuple[str, str]:
    a, b = config.a_class or config.a.name, config.b_class or config.b.name
    return (a, b) if a != b else (f"{a} A", f"{b} B")


def _joined(tables: list["Table"], size: tuple[int, ...], channels: int) -> "Table":
    """One below the other; the label is the domain, 0 or 1."""
    import torch

    from dlrun.data.table import Table

    labels = [torch.full((len(table),), domain) for domain, table in enumerate(tables)]
    images = [_brought_to(table.images, size, channels) for table in tables]
    return Table(torch.cat(images), torch.cat(labels))


def _brought_to(images: "Tensor", size: tuple[int, ...], channels: int) -> "Tensor":
    """uint8 (N, C, H, W) to (N, channels, *size): grey or colour, and resized."""
    import torch
    from torch.nn import functional as F

    if tuple(images.shape[1:]) == (channels, *size):
        return images
    parts = [images[:0].new_empty(0, channels, *size)]
    for part in images.split(1024):  # as floats, a whole data set would not fit
        x = part.float()
        if channels == 1 and part.shape[1] == 3:
            x = (x * torch.tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
        x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        parts.append(x.round().clamp(0, 255).byte().expand(-1, channels, -1, -1))
    return torch.cat(parts)
