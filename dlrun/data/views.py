"""What a method wants to see, and how a batch of it is drawn from any table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from dlrun.data.augment import augment
from dlrun.data.augment_options import AugmentConfig
from dlrun.data.groups import GROUP, GroupOrder, groups_per_class
from dlrun.data.order import Order
from dlrun.data.table import DataSet, Pixels, PixelScale, Table
from dlrun.errors import UserError
from dlrun.randomness import generator


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
        return cls(source.view(a), source.view(b))


@dataclass(frozen=True)
class HeldOut:
    """Images of a split as they are, (B, C, H, W), and what is known of them, each (B,).

    Not a view: evaluation shows it to methods.
    """

    image: Tensor
    label: Tensor | None = None
    attributes: dict[str, Tensor] = field(default_factory=dict)


def domain_rows(data: DataSet, split: str = "train") -> tuple[Tensor, Tensor]:
    """The rows of the two domains in a split, int64 each.

    Raises:
        UserError: the data set does not say which two, or one of them is empty.
    """
    if data.domains is None:
        raise UserError(
            f"dataset={data.name}: an unpaired method needs two domains; give two class names, "
            f"dataset.domains=[...,...], from {', '.join(data.class_names) or 'class folders'}"
        )
    labels = getattr(data, split).labels
    rows = tuple((labels == domain).nonzero()[:, 0].cpu() for domain in data.domains)
    for domain, found in zip(data.domains, rows, strict=True):
        if not len(found):
            raise UserError(
                f"dataset={data.name}: no {split} image of domain {data.class_names[domain]}"
            )
    return rows[0], rows[1]


def positive_rows(table: Table, positive: int | None) -> tuple[Tensor, Tensor]:
    """The rows of the positive class and all others, int64 each; all and none where none is.

    Raises:
        UserError: no image is positive.
    """
    labels = table.labels
    if positive is None or labels is None:
        rows = torch.arange(len(table), device=table.images.device)
        return rows, rows[:0]
    found = (labels == positive).nonzero()[:, 0], (labels != positive).nonzero()[:, 0]
    if not len(found[0]):
        raise UserError("dataset.positive: no train image is of that class")
    return found


class Source:
    """Draws batches of one view: order, gather, augment, scale; a function of (seed, number)."""

    def __init__(
        self,
        data: DataSet,
        view: type[View],
        options: AugmentConfig,
        pixels: Pixels,
        batch_size: int,
        seed: int,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
        share: Callable[[Tensor], Tensor] = lambda rows: rows,
        weights: Tensor | None = None,
    ) -> None:
        """`weights` (N,) are a method's own, looked at anew whenever it has changed them; `share`
        gives, of the rows (B,) of a batch, those that this process sees.

        Raises UserError where an epoch holds not even one batch.
        """
        self.data, self.kind, self.options = data, view, options
        self.batch_size, self.seed = batch_size, seed
        self.device, self.memory_format, self.share = device, memory_format, share
        self.weights, self._cumulated, self._version = weights, torch.zeros(0), -1
        self.scale = PixelScale.of(pixels, data.mean, data.std).to(device)
        self.length = view.length(data)
        if batch_size > self.length:
            raise UserError(
                f"batch_size: got {batch_size}, but an epoch of {data.name} has {self.length} "
                f"images; expected an integer in [1, {self.length}]"
            )

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches; the incomplete last one is left out."""
        return self.length // self.batch_size

    def rows(self, order: Order | GroupOrder, number: int) -> Tensor:
        """The rows of batch `number` that this process sees, int64."""
        return self.share(order.batch(number, self.batch_size))

    def batch(self, number: int) -> View:
        """Batch `number` of the run. Uses the default generators, which the caller has seeded."""
        return self.kind.draw(self, number)

    @cached_property
    def everything(self) -> Order:
        """Shuffled passes over the train split."""
        rows = torch.arange(len(self.data.train))
        return Order(rows, len(rows), self.seed, "order")

    @cached_property
    def domains(self) -> tuple[Order, Order]:
        """Shuffled passes over each domain, unpaired."""
        a, b = domain_rows(self.data)
        return Order(a, self.length, self.seed, "order a"), Order(
            b, self.length, self.seed, "order b"
        )

    @cached_property
    def groups(self) -> GroupOrder:
        """Shuffled passes over the train split in groups of one class. Raises UserError."""
        if len(self.share(torch.arange(self.batch_size))) < 2 * GROUP:
            raise UserError(
                f"batch_size: got {self.batch_size}, but images come in groups of {GROUP} of one "
                f"class; expected an integer >= {2 * GROUP}, best a multiple of {GROUP}"
            )
        assert self.data.train.labels is not None
        return GroupOrder(self.data.train.labels, self.seed, "groups")

    @cached_property
    def others(self) -> Order | None:
        """Shuffled passes over the images that are not positive; None where all are of interest."""
        rows = positive_rows(self.data.train, self.data.positive)[1].cpu()
        length = max(len(rows), self.batch_size)
        return Order(rows, length, self.seed, "others") if len(rows) else None

    def by_weight(self, number: int, size: int) -> Tensor:
        """Rows of batch `number` drawn with replacement by the weights, int64 (size,)."""
        self._look_at_weights()
        place = torch.rand(size, generator=generator(self.seed, "by weight", number)).double()
        drawn = torch.searchsorted(self._cumulated, place * self._cumulated[-1], right=True)
        return drawn.clamp_(max=len(self._cumulated) - 1)

    def _look_at_weights(self) -> None:
        """Rows are drawn on the CPU, alike for every device; a copy at each step would wait."""
        weights = self.weights
        if weights is not None and weights._version == self._version:
            return
        if weights is None or not weights.any():  # before the first look at the images
            train = self.data.train
            chances = torch.zeros(len(train), dtype=torch.float64)
            chances[positive_rows(train, self.data.positive)[0].cpu()] = 1
        else:
            chances = weights.cpu()
        self._cumulated = chances.cumsum(0)
        self._version = -1 if weights is None else weights._version

    def view(self, rows: Tensor, second: bool = False) -> Tensor:
        """An augmented view of the images `rows`, float32 (B, C, H, W) in the method's range."""
        options = self.options.second if second and self.options.second else self.options.first
        x = augment(self.data.train.gather(rows, self.device), options)
        return self.scale.from_unit(x).contiguous(memory_format=self.memory_format)

    def labels(self, rows: Tensor) -> Tensor | None:
        """The classes of `rows`, int64 (B,), or None where the images have none."""
        labels = self.data.train.labels
        return None if labels is None else self._picked(labels, rows)

    def attributes(self, rows: Tensor) -> dict[str, Tensor]:
        """The further columns of `rows`, each (B,)."""
        columns = self.data.train.attributes
        return {name: self._picked(column, rows) for name, column in columns.items()}

    def _picked(self, column: Tensor, rows: Tensor) -> Tensor:
        return column[rows.to(column.device)].to(self.device, non_blocking=True)
