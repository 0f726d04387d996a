"""What a method may do besides its steps: the loop and the evaluation call these."""

from collections.abc import Callable
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
    """Has numbers of its own for held-out images; `Method.metrics` describes them."""

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """Each (B,), or fewer where it is not known of every image; averaged over the split."""


@runtime_checkable
class Warns(Protocol):
    """Detects that its training goes wrong."""

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """One line for each problem after an evaluation on val that gave `numbers`."""


@runtime_checkable
class BeforeEpoch(Protocol):
    """Looks at images of the train split before each epoch.

    What it remembers of them is a buffer: a resumed run has it from its checkpoint.
    """

    def before_epoch(self, table: Table, over: Over) -> dict[str, Tensor]:
        """Without gradients.

        Returns:
            Numbers () that are logged; values (N,), or (N, D), that are shown as histograms.
        """


@runtime_checkable
class HasSamplingWeights(Protocol):
    """Draws train images by weights of its own."""

    weights: Tensor
    """A buffer (N,), float64: each train image's chance; all 0 before the first epoch."""


@runtime_checkable
class HasTeacher(Protocol):
    """Has a teacher to be compared with."""

    source: Pretrained
    """Where the teacher comes from."""
    teacher: nn.Module
    student: nn.Module

    def teach(self, image: Tensor) -> Tensor | None:
        """The teacher's logits (B, K); None where it has no classifier."""
