"""What a trained method can do. Evaluation and the commands check for these, never for names.

Images that come in are (B, C, H, W) in the method's own range (`Method.pixels`); images that go out
are in [0, 1]. All run in eval mode without gradients.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

Direction = Literal["a_to_b", "b_to_a"]


@runtime_checkable
class Predicts(Protocol):
    """Classifies; with `classifies` False it predicts something other than the classes."""

    classifies: bool

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""

    def probabilities(self, output: Tensor) -> Tensor:
        """The output of `predict` as probabilities (B, K)."""


class TaskSpec(Protocol):
    """One of several things to predict of an image."""

    @property
    def name(self) -> str:
        """`label`, or a column of the table's attributes."""

    @property
    def classes(self) -> int | None:
        """How many classes; None: a number is predicted."""


@runtime_checkable
class PredictsTasks(Protocol):
    """Predicts several things of an image, its class among them if `classifies`."""

    classifies: bool

    @property
    def tasks(self) -> Sequence[TaskSpec]:
        """What is predicted."""

    def predict_tasks(self, image: Tensor) -> dict[str, Tensor]:
        """For each task probabilities (B, K) of its classes, or numbers (B,) in their own unit."""


@runtime_checkable
class Embeds(Protocol):
    """Has features."""

    def embed(self, image: Tensor) -> Tensor:
        """Features (B, D)."""


@runtime_checkable
class HasProjection(Protocol):
    """Has projections, which may collapse."""

    def project(self, image: Tensor) -> Tensor:
        """Projections (B, D)."""


@runtime_checkable
class Reconstructs(Protocol):
    """Reconstructs an image."""

    def reconstruct(self, image: Tensor) -> Tensor:
        """The image through the code, in [0, 1]."""


@runtime_checkable
class Decodes(Protocol):
    """Decodes a code, of the kind that `embed` gives, to an image."""

    code_dim: int

    def embed(self, image: Tensor) -> Tensor:
        """Codes (B, code_dim)."""

    def decode(self, code: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] of codes (B, code_dim)."""


@runtime_checkable
class HasPosterior(Protocol):
    """Has a Gaussian posterior over codes; the prior is N(0, 1)."""

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each (B, D)."""


@runtime_checkable
class HasLikelihood(Protocol):
    """Has a likelihood of images that importance-weighted draws estimate."""

    likelihood_draws: int
    """How many for each image; 0: no estimate, not wanted or not a likelihood."""

    @property
    def likelihood_metric(self) -> str:
        """The estimate's name: negative_log_likelihood or negative_log_density."""

    def log_weights(self, image: Tensor, draws: int) -> Tensor:
        """log p(x, z) - log q(z|x), (draws, B), nats, float64; their mean's exp is p(x)."""


@runtime_checkable
class Samples(Protocol):
    """Generates images."""

    def sample(self, n: int) -> Tensor:
        """n images (n, C, H, W) in [0, 1]."""


@runtime_checkable
class Translates(Protocol):
    """Translates an image from one domain to the other."""

    def translate(self, image: Tensor, direction: Direction) -> Tensor:
        """The translated image, in [0, 1]."""
