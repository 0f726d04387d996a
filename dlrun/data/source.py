"""Batches of one view, drawn from a table."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from dlrun.data.augment import augment
from dlrun.data.augment_options import AugmentConfig
from dlrun.data.groups import GROUP, GroupOrder
from dlrun.data.order import Order
from dlrun.data.rows import domain_rows, positive_rows
from dlrun.data.table import DataSet, Pixels, PixelScale
from dlrun.data.views import View
from dlrun.errors import UserError
from dlrun.randomness import generator


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
        self.pixels = pixels
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
        if self.pixels != "unit":
            x = self.scale.from_unit(x)
        return x.contiguous(memory_format=self.memory_format)

    def labels(self, rows: Tensor) -> Tensor | None:
        """The classes of `rows`, int64 (B,), or None where the images have none."""
        labels = self.data.train.labels
        return None if labels is None else self._picked(labels, rows)

    def attributes(self, rows: Tensor) -> dict[str, Tensor]:
        """The further columns of `rows`, each (B,)."""
        columns = self.data.train.attributes
        return {name: self._picked(column, rows) for name, column in columns.items()}

    def _picked(self, column: Tensor, rows: Tensor) -> Tensor:
        return column.index_select(0, rows.to(column.device)).to(self.device, non_blocking=True)
