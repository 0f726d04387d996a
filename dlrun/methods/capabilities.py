"""What a trained method can do. Evaluation and the verbs look at these, never at names.

Images that come in are (B, C, H, W) in the method's own range (`Method.pixels`); images that go out
are in [0, 1]. All run in eval mode without gradients.
"""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from dlrun.data.views import HeldOut
from dlrun.methods.base import Update
from dlrun.methods.trained import Trained

Direction = Literal["a_to_b", "b_to_a"]


@runtime_checkable
class Predicts(Protocol):
    """Classifies, unless `classifies` says that it gives something else than the classes."""

    classifies: bool

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""


@runtime_checkable
class Teaches(Protocol):
    """Has a teacher to be held against."""

    source: Trained
    """Where the teacher comes from."""
    teacher: nn.Module
    student: nn.Module

    def teach(self, image: Tensor) -> Tensor | None:
        """The teacher's logits (B, K); None where it has no classifier."""


@runtime_checkable
class Warns(Protocol):
    """Knows when its training goes wrong."""

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """Lines for people after an evaluation on val that gave `numbers`; none if all is well."""


@runtime_checkable
class Embeds(Protocol):
    """Has features."""

    def embed(self, image: Tensor) -> Tensor:
        """Features (B, D)."""


@runtime_checkable
class Projects(Protocol):
    """Has projections, which may collapse."""

    def project(self, image: Tensor) -> Tensor:
        """Projections (B, D)."""


@runtime_checkable
class Reconstructs(Protocol):
    """Gives an image back."""

    def reconstruct(self, image: Tensor) -> Tensor:
        """The image through the code, in [0, 1]."""


@runtime_checkable
class Samples(Protocol):
    """Makes images of nothing."""

    def sample(self, n: int) -> Tensor:
        """n images (n, C, H, W) in [0, 1]."""


@runtime_checkable
class Translates(Protocol):
    """Carries an image from one domain to the other."""

    def translate(self, image: Tensor, direction: Direction) -> Tensor:
        """The translated image, in [0, 1]."""


@runtime_checkable
class Validates(Protocol):
    """Has numbers of its own to report on held-out images; lower is better."""

    def validate(self, batch: HeldOut) -> dict[str, Tensor]:
        """Each (B,), or fewer where it is not known of every image; averaged over the split."""
