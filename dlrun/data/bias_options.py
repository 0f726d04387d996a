"""Options of a bias; apart from the bias itself, because checking a config must not need torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dlrun.options import Fraction, Range, Whole

AttributeName = Literal["colour", "flip", "rotation", "background"]


@dataclass(frozen=True)
class BiasConfig:
    """What is done to the train split that is not so in the test split."""

    attribute: AttributeName | None
    strength: Fraction | None
    imbalance: Annotated[float, Range(1)]
    val: Literal["train", "test"]
    seed: Whole

    def __post_init__(self) -> None:
        """Raises ValueError for an attribute without a strength, or the other way round."""
        if self.attribute is None and self.strength is not None:
            raise ValueError(
                f"got strength={self.strength:g} without an attribute; choose bias=colour, flip, "
                "rotation or background"
            )
        if self.attribute is not None and self.strength is None:
            raise ValueError(
                f"got attribute={self.attribute} without a strength; expected a number in [0, 1]"
            )

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.attribute is not None or self.imbalance > 1
