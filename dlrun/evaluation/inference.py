"""Running a method over a split: in eval mode, without gradients, in batches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.data.batches import EvalBatch
from dlrun.data.table import DataSet, PixelScale, Table
from dlrun.methods.abilities import Direction
from dlrun.methods.base import Method
from dlrun.methods.hooks import LearnsSome

_BATCH = 250
_PIXELS = 2**20  # in a batch: large images go through a network in smaller batches
DIRECTIONS: tuple[Direction, Direction] = ("a_to_b", "b_to_a")


def batch_of(height: int, width: int) -> int:
    """How many images of that size go through a network at once."""
    return max(1, min(_BATCH, _PIXELS // (height * width)))


@dataclass(frozen=True)
class Inference:
    """A method, its data, and how it computes."""

    method: Method
    data: DataSet
    scale: PixelScale
    device: torch.device
    memory_format: torch.memory_format
    autocast: Callable[[], AbstractContextManager[object]]

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode without gradients at the run's precision; training mode again afterwards."""
        training = self.method.training
        self.method.eval()
        try:
            with torch.inference_mode(), self.autocast():
                yield
        finally:
            self.method.train(training)

    def images(self, table: Table, rows: Tensor) -> Tensor:
        """Some rows in the method's own range, (B, C, H, W), not augmented."""
        x = self.scale.from_bytes(table.gather(rows, self.device))
        return x.contiguous(memory_format=self.memory_format)

    def seen(self, unit: Tensor) -> Tensor:
        """Images in [0, 1], such as generated ones, in the method's own range."""
        x = self.scale.from_unit(unit.clone())
        return x.contiguous(memory_format=self.memory_format)

    def batches(self, table: Table, rows: Tensor | None = None) -> Iterator[EvalBatch]:
        """The whole table, or some rows of it, in order."""

        def picked(column: Tensor) -> Tensor:
            return column[part.to(column.device)].to(self.device)

        everything = torch.arange(len(table)) if rows is None else rows
        for part in everything.split(batch_of(*table.images.shape[2:])):
            yield EvalBatch(
                self.images(table, part),
                None if table.labels is None else picked(table.labels),
                {name: picked(column) for name, column in table.attributes.items()},
            )

    def decoded(self, table: Table) -> Tensor:
        """The rows of the images that the method's decoder learns, int64: all, unless it says so.

        It is judged on these alone.
        """
        if isinstance(self.method, LearnsSome):
            return self.method.learns(table).cpu().nonzero()[:, 0]
        return torch.arange(len(table))

    def over(
        self, table: Table, function: Callable[[Tensor], Tensor], rows: Tensor | None = None
    ) -> Tensor:
        """`function` of every image, or of some rows, joined along the batch, float32."""
        return torch.cat([function(batch.image).float() for batch in self.batches(table, rows)])
