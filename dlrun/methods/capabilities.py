"""What a trained method can do. Evaluation and the verbs look at these, never at names.

Images that come in are (B, C, H, W) in the method's own range (`Method.pixels`); images that go out
are in [0, 1]. All run in eval mode without gradients.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from dlrun.data.table import Table
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

    def probabilities(self, output: Tensor) -> Tensor:
        """What `predict` gives as probabilities (B, K)."""


class Told(Protocol):
    """One of several things to tell of an image."""

    @property
    def name(self) -> str:
        """`label`, or a column of the table's attributes."""

    @property
    def classes(self) -> int | None:
        """How many there are; None: a number."""


@runtime_checkable
class PredictsTasks(Protocol):
    """Tells several things of an image, its class among them if it `classifies`."""

    classifies: bool

    @property
    def tasks(self) -> Sequence[Told]:
        """What there is to tell."""

    def predict_tasks(self, image: Tensor) -> dict[str, Tensor]:
        """For each task probabilities (B, K) of its classes, or numbers (B,) in their own unit."""


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
class Decodes(Protocol):
    """Makes an image of a code, of the kind that `embed` gives."""

    code_dim: int

    def embed(self, image: Tensor) -> Tensor:
        """Codes (B, code_dim)."""

    def decode(self, code: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] of codes (B, code_dim)."""


@runtime_checkable
class Infers(Protocol):
    """Gives a Gaussian over codes for an image, N(0, 1) being the prior."""

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, D)."""


@runtime_checkable
class Likely(Protocol):
    """Has a likelihood of images that can be estimated by importance-weighted draws."""

    likelihood_draws: int
    """How many for an image; 0: it is no likelihood, or not wanted."""

    @property
    def likelihood_metric(self) -> str:
        """What the estimate is called: negative_log_likelihood or negative_log_density."""

    def log_weights(self, image: Tensor, draws: int) -> Tensor:
        """log p(x, z) - log q(z|x), (draws, B), nats, float64; their mean's exp is p(x)."""


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


@runtime_checkable
class Weighs(Protocol):
    """Has the chance of each train image to be drawn by its view."""

    weights: Tensor
    """A buffer (N,), float64, sums to 1, or 0 before a first look; 0 of those drawn otherwise."""


@runtime_checkable
class Surveys(Protocol):
    """Looks at images of the train split before each epoch, in eval mode, not augmented.

    What it keeps of them is a buffer: a resumed run has it from its checkpoint.
    """

    def surveyed(self, table: Table) -> Tensor:
        """Which rows of the train split, int64 (M,)."""

    def glance(self, image: Tensor) -> Tensor:
        """What is taken down of each image, (B, D)."""

    def survey(self, table: Table, rows: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Concludes, from `seen` (M, D) of `rows`; returns numbers to be logged, as tensors ()."""
