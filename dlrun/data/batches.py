"""Batches: what a method sees of the train split, and how a batch is drawn.

A batch is a function of (seed, number): its rows come from an `Order`, its augmentation from
torch's default generators, which the loop has seeded for the step.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from dlrun.data.augment import augment
from dlrun.data.order import GROUP, GroupOrder, Order, groups_per_class
from dlrun.data.table import DataSet, PixelScale, domain_rows
from dlrun.errors import UserError

if TYPE_CHECKING:
    from dlrun.config.schema import TrainConfig
    from dlrun.methods.base import Method
    from dlrun.training.hardware import Hardware
    from dlrun.training.ranks import Ranks


class Batch(ABC):
    """What a method sees at a step. A subclass is a frozen dataclass of tensors that draws itself.

    Every tensor is on the run's device; images are (B, C, H, W) in the method's range.
    """

    needs_labels: ClassVar[bool] = False
    unit: ClassVar[tuple[int, str]] = (1, "images")
    """What each process's share of a batch is a multiple of, and what that is called."""

    @classmethod
    def length(cls, data: DataSet) -> int:
        """Images that an epoch draws."""
        return len(data.train)

    @classmethod
    def order(cls, batches: "Batches") -> Any:
        """What `draw` takes its rows from, made once a run: here shuffled passes over all rows."""
        rows = torch.arange(len(batches.data.train))
        return Order(rows, len(rows), batches.seed, "order")

    @classmethod
    @abstractmethod
    def draw(cls, batches: "Batches", number: int) -> Self:
        """Batch `number`, counted from the start of the run."""


class Batches:
    """The batches of a run, by number."""

    def __init__(
        self,
        data: DataSet,
        method: "Method",
        config: "TrainConfig",
        hardware: "Hardware",
        ranks: "Ranks",
    ) -> None:
        """Raises UserError where an epoch holds not even one batch."""
        self.data, self.method, self.augment = data, method, config.augment
        self.kind: type[Batch] = method.view_for(config.method.options)
        self.size, self.seed, self.shard = config.batch_size, config.seed, ranks.shard
        self.device, self.memory_format = hardware.device, hardware.memory_format
        self.scale = PixelScale.of(method.pixels, data.mean, data.std).to(hardware.device)
        self.length = self.kind.length(data)
        if self.size > self.length:
            raise UserError(
                f"batch_size: got {self.size}, but an epoch of {data.name} has {self.length} "
                f"images; expected an integer in [1, {self.length}]"
            )

    def draw(self, number: int) -> Any:
        """Batch `number` of the run. Uses the default generators, which the caller has seeded."""
        return self.kind.draw(self, number)

    @cached_property
    def order(self) -> Any:
        """What the batches take their rows from."""
        return self.kind.order(self)

    def rows(self, number: int) -> Tensor:
        """The rows of batch `number` that this process trains on, int64, a copy of its own."""
        return self.shard(self.order.batch(number, self.size)).clone()

    def images(self, rows: Tensor, second: bool = False) -> Tensor:
        """Augmented images of `rows`, float32 (B, C, H, W) in the method's range."""
        options = self.augment.second if second and self.augment.second else self.augment.first
        x = augment(self.data.train.gather(rows, self.device), options)
        if self.method.pixels != "unit":
            x = self.scale.from_unit(x)
        return x.contiguous(memory_format=self.memory_format)

    def labels(self, rows: Tensor) -> Tensor | None:
        """The classes of `rows`, int64 (B,), or None where the images have none."""
        labels = self.data.train.labels
        return None if labels is None else self._of_rows(labels, rows)

    def attributes(self, rows: Tensor) -> dict[str, Tensor]:
        """The further columns of `rows`, each (B,)."""
        columns = self.data.train.attributes
        return {name: self._of_rows(column, rows) for name, column in columns.items()}

    def _of_rows(self, column: Tensor, rows: Tensor) -> Tensor:
        return column.index_select(0, rows.to(column.device)).to(self.device, non_blocking=True)


@dataclass(frozen=True)
class Images(Batch):
    """One augmented view of each image (B, C, H, W) and its row in the table (B,)."""

    image: Tensor
    index: Tensor

    @classmethod
    def draw(cls, batches: Batches, number: int) -> Self:
        """A batch."""
        rows = batches.rows(number)
        return cls(batches.images(rows), rows.to(batches.device))


@dataclass(frozen=True)
class TwoViews(Batch):
    """Two views of each image, each (B, C, H, W), drawn independently, and its row (B,).

    `label` (B,) is there where the images have one; a probe may look at it, the method must not.
    """

    first: Tensor
    second: Tensor
    index: Tensor
    label: Tensor | None = None

    @classmethod
    def draw(cls, batches: Batches, number: int) -> Self:
        """A batch."""
        rows = batches.rows(number)
        first, second = batches.images(rows), batches.images(rows, second=True)
        return cls(first, second, rows.to(batches.device), batches.labels(rows))


@dataclass(frozen=True)
class Labelled(Batch):
    """One augmented view of each image (B, C, H, W), its class (B,), its row in the table (B,).

    `attributes` are the table's further columns, each (B,).
    """

    image: Tensor
    label: Tensor
    index: Tensor
    attributes: dict[str, Tensor] = field(default_factory=dict)
    needs_labels: ClassVar[bool] = True

    @classmethod
    def draw(cls, batches: Batches, number: int) -> Self:
        """A batch."""
        return cls.of(batches, batches.rows(number))

    @classmethod
    def of(cls, batches: Batches, rows: Tensor) -> Self:
        """The batch of `rows`, int64 (B,)."""
        label = batches.labels(rows)
        assert label is not None
        return cls(batches.images(rows), label, rows.to(batches.device), batches.attributes(rows))


@dataclass(frozen=True)
class WithColumns(Batch):
    """One augmented view of each image (B, C, H, W), its row (B,), and the table's columns (B,)."""

    image: Tensor
    index: Tensor
    attributes: dict[str, Tensor]

    @classmethod
    def draw(cls, batches: Batches, number: int) -> Self:
        """A batch."""
        rows = batches.rows(number)
        return cls(batches.images(rows), rows.to(batches.device), batches.attributes(rows))


@dataclass(frozen=True)
class Grouped(Labelled):
    """As `Labelled`, but four images of one class in turn, for positives in every batch."""

    unit: ClassVar[tuple[int, str]] = (GROUP, f"groups of {GROUP}")

    @classmethod
    def length(cls, data: DataSet) -> int:
        """Whole groups, so a little more than the train split. Raises UserError of one class."""
        labels = data.train.labels
        groups = torch.zeros(0) if labels is None else groups_per_class(labels.cpu())
        if groups.count_nonzero() < 2:
            raise UserError(
                f"dataset={data.name}: positives and negatives need labels of at least two "
                "classes; put each class into a folder of its own, or choose another data set"
            )
        return GROUP * int(groups.sum())

    @classmethod
    def order(cls, batches: Batches) -> GroupOrder:
        """Shuffled passes over the train split in groups of one class. Raises UserError."""
        if len(batches.shard(torch.arange(batches.size))) < 2 * GROUP:
            raise UserError(
                f"batch_size: got {batches.size}, but images come in groups of {GROUP} of one "
                f"class; expected an integer >= {2 * GROUP}, best a multiple of {GROUP}"
            )
        assert batches.data.train.labels is not None
        return GroupOrder(batches.data.train.labels, batches.seed, "groups")


@dataclass(frozen=True)
class Unpaired(Batch):
    """Images of two domains, each (B, C, H, W), shuffled independently of each other."""

    a: Tensor
    b: Tensor
    needs_labels: ClassVar[bool] = True

    @classmethod
    def length(cls, data: DataSet) -> int:
        """The larger domain; the smaller one is repeated."""
        return max(len(rows) for rows in domain_rows(data))

    @classmethod
    def order(cls, batches: Batches) -> tuple[Order, Order]:
        """Shuffled passes over each domain."""
        a, b = domain_rows(batches.data)
        length, seed = batches.length, batches.seed
        return Order(a, length, seed, "order a"), Order(b, length, seed, "order b")

    @classmethod
    def draw(cls, batches: Batches, number: int) -> Self:
        """A batch."""
        a, b = (batches.shard(order.batch(number, batches.size)) for order in batches.order)
        return cls(*batches.images(torch.cat([a, b])).split([len(a), len(b)]))


@dataclass(frozen=True)
class EvalBatch:
    """Images of a split without augmentation (B, C, H, W), and their columns, each (B,).

    Evaluation passes it to a method's `validate`; no method trains on it.
    """

    image: Tensor
    label: Tensor | None = None
    attributes: dict[str, Tensor] = field(default_factory=dict)
