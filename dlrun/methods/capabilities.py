"""What a trained method can do. Evaluation and the verbs look at these, never at names.

Images that come in are (B, C, H, W) in the method's own range (`Method.pixels`); images that go out
are in [0, 1]. All run in eval mode without gradients.
"""

from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

Direction = Literal["a_to_b", "b_to_a"]


@runtime_checkable
class Predicts(Protocol):
    """Classifies."""

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""


@runtime_checkable
class Embeds(Protocol):
    """Has features."""

    def embed(self, image: Tensor) -> Tensor:
        """Features (B, D)."""


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

    def validate(self, image: Tensor, label: Tensor | None) -> dict[str, Tensor]:
        """Each (B,), averaged over the split."""
