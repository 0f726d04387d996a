"""What a method wants to see: a batch that draws itself from a source."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import torch
from torch import Tensor

from dlrun.data.groups import GROUP, groups_per_class
from dlrun.data.rows import domain_rows
from dlrun.data.table import DataSet
from dlrun.errors import UserError

if TYPE_CHECKING:
    from dlrun.data.source import Source


class View(Protocol):
    """A batch that can draw itself, on the device, its images in the method's range."""

    needs_labels: ClassVar[bool]

    @classmethod
    def length(cls, data: DataSet) -> int:
        """Draws in an epoch."""

    @classmethod
    def draw(cls, source: "Source", number: int) -> Self:
        """Batch `number`, counted from the start of the run."""


@dataclass(frozen=True)
class Images:
    """One augmented view of each image (B, C, H, W) and its row in the table (B,)."""

    image: Tensor
    index: Tensor
    needs_labels: ClassVar[bool] = False

    @classmethod
    def length(cls, data: DataSet) -> int:
        """The train split."""
        return len(data.train)

    @classmethod
    def draw(cls, source: "Source", number: int) -> Self:
        """A batch."""
        rows = source.rows(source.everything, number)
        return cls(source.view(rows), rows.to(source.device))


@dataclass(frozen=True)
class Labelled:
    """One augmented view of each image (B, C, H, W), its class (B,), its row in the table (B,).

    `attributes` are the table's further columns, each (B,).
    """

    image: Tensor
    label: Tensor
    index: Tensor
    attributes: dict[str, Tensor] = field(default_factory=dict)
    needs_labels: ClassVar[bool] = True

    @classmethod
    def length(cls, data: DataSet) -> int:
        """The train split."""
        return len(data.train)

    @classmethod
    def draw(cls, source: "Source", number: int) -> Self:
        """A batch."""
        rows = source.rows(source.everything, number)
        label = source.labels(rows)
        assert label is not None
        return cls(source.view(rows), label, rows.to(source.device), source.attributes(rows))


@dataclass(frozen=True)
class Grouped:
    """As `Labelled`, but four images of one class in turn, for positives in every batch."""

    image: Tensor
    label: Tensor
    index: Tensor
    needs_labels: ClassVar[bool] = True

    @classmethod
    def length(cls, data: DataSet) -> int:
        """Whole groups, so a little more than the train split. Raises UserError of one class."""
        labels = data.train.labels
        groups = torch.zeros(0) if labels is None else groups_per_class(labels.cpu())
        if groups.count_nonzero() < 2:
            raise UserError(
                f"dataset={data.name}: like and unlike images need labels of at least two classes; "
                "put each class into a folder of its own, or take another data set"
            )
        return GROUP * int(groups.sum())

    @classmethod
    def draw(cls, source: "Source", number: int) -> Self:
        """A batch."""
        rows = source.rows(source.groups, number)
        label = source.labels(rows)
        assert label is not None
        return cls(source.view(rows), label, rows.to(source.device))


@dataclass(frozen=True)
class Weighted:
    """As `Labelled`, but drawn with replacement by the method's weights, half of the batch.

    That half, the larger one, are images of the data set's positive class and comes first; the
    others pass by as ever. Without a positive class the whole batch is drawn by weight.
    """

    image: Tensor
    label: Tensor
    index: Tensor
    attributes: dict[str, Tensor] = field(default_factory=dict)
    needs_labels: ClassVar[bool] = True

    @classmethod
    def length(cls, data: DataSet) -> int:
        """As many as the train split."""
        return len(data.train)

    @classmethod
    def draw(cls, source: "Source", number: int) -> Self:
        """A batch."""
        others = source.others
        half = source.batch_size // 2 if others else 0
        rows = source.share(source.by_weight(number, source.batch_size - half))
        if others:
            if not half:
                raise UserError(
                    "batch_size: got 1, but half of it are positives and half are others; expected "
                    "an integer >= 2"
                )
            rows = torch.cat([rows, source.share(others.batch(number, half))])
        label = source.labels(rows)
        assert label is not None
        return cls(source.view(rows), label, rows.to(source.device), source.attributes(rows))


@dataclass(frozen=True)
class TwoViews:
    """Two views of each image, each (B, C, H, W), drawn independently, and its row (B,).

    `label` (B,) is there where the images have one; a probe may look at it, the method must not.
    """

    first: Tensor
    second: Tensor
    index: Tensor
    label: Tensor | None = None
    needs_labels: ClassVar[bool] = False

    @classmethod
    def length(cls, data: DataSet) -> int:
        """The train split."""
        return len(data.train)

    @classmethod
    def draw(cls, source: "Source", number: int) -> Self:
        """A batch."""
        rows = source.rows(source.everything, number)
        first, second = source.view(rows), source.view(rows, second=True)
        return cls(first, second, rows.to(source.device), source.labels(rows))


@dataclass(frozen=True)
class Unpaired:
    """Images of two domains, each (B, C, H, W), in orders that know nothing of each other."""

    a: Tensor
    b: Tensor
    needs_labels: ClassVar[bool] = True

    @classmethod
    def length(cls, data: DataSet) -> int:
        """The larger domain; the smaller one begins again."""
        return max(len(rows) for rows in domain_rows(data))

    @classmethod
    def draw(cls, source: "Source", number: int) -> Self:
        """A batch."""
        a, b = (source.rows(order, number) for order in source.domains)
        return cls(*source.view(torch.cat([a, b])).split([len(a), len(b)]))


@dataclass(frozen=True)
class HeldOut:
    """Images of a split as they are, (B, C, H, W), and what is known of them, each (B,).

    Not a view: evaluation shows it to methods.
    """

    image: Tensor
    label: Tensor | None = None
    attributes: dict[str, Tensor] = field(default_factory=dict)
