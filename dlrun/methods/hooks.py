"""What a method may do around its steps: the loop and the evaluation call these."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from dlrun.data.batches import EvalBatch
from dlrun.data.table import Table
from dlrun.methods.base import Update
from dlrun.models.pretrained import Pretrained

Over = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
"""`over(function, rows)`: the function of the train images `rows`, in eval mode and not augmented;
the batches joined, float32."""


@runtime_checkable
class Validates(Protocol):
    """Has its own metrics of held-out images; `Method.metrics` describes them."""

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """Each (B,), or fewer where not every image has one; averaged over the split."""


@runtime_checkable
class Totals(Protocol):
    """Has metrics that are no mean over images but follow from such means."""

    def totals(self, means: Mapping[str, float]) -> dict[str, float]:
        """Further metrics of a split, from the means of what `validate` gave."""


@runtime_checkable
class LearnsSome(Protocol):
    """Has a decoder that learns a part of the images, such as those of one class."""

    def learns(self, table: Table) -> Tensor:
        """Which images it learns, bool (N,)."""


@runtime_checkable
class Warns(Protocol):
    """Detects that its training is going wrong."""

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """One line for each problem after an evaluation on val that gave `numbers`."""


@runtime_checkable
class BeforeEpoch(Protocol):
    """Inspects the train split before each epoch; what it remembers is in buffers."""

    def before_epoch(self, table: Table, over: Over) -> dict[str, Tensor]:
        """Without gradients.

        Returns:
            Numbers () to log; values (N,), or (N, D), to show as histograms.
        """


@runtime_checkable
class HasSamplingWeights(Protocol):
    """Draws train images by weight."""

    weights: Tensor
    """A buffer (N,), float32: each train image's chance; all 0 before the first epoch."""


@runtime_checkable
class HasTeacher(Protocol):
    """Has a teacher to be compared with."""

    source: Pretrained
    """Where the teacher comes from."""
    teacher: nn.Module
    student: nn.Module

    def teach(self, image: Tensor) -> Tensor | None:
        """The teacher's logits (B, K); None where it has no classifier."""
