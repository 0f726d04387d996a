"""The options of augmentation and bias, apart from both so that checking them needs no torch."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dlrun.options import Fraction, NonNegative, Range, Whole

Share = Annotated[float, Range(0, 1, low_open=True)]
AttributeName = Literal["colour", "flip", "rotation", "background"]


@dataclass(frozen=True)
class ViewConfig:
    """How one augmented view of an image is drawn; 0 or null switches a part off.

    The order is that of BYOL's appendix B: crop, flip, colour jitter, greyscale, blur, solarise.
    """

    pad: Whole  # pixels
    crop: tuple[Share, Share] | None  # least and most share of the area
    flip: Fraction  # chance
    jitter: Fraction  # chance
    brightness: NonNegative
    contrast: NonNegative
    saturation: NonNegative
    hue: Annotated[float, Range(0, 0.5)]  # share of the colour circle
    grayscale: Fraction  # chance
    blur: Fraction  # chance
    blur_from: Whole  # pixels: smaller images are not blurred
    solarize: Fraction  # chance

    def __post_init__(self) -> None:
        """Raises ValueError where the bounds of the crop are the wrong way round."""
        if self.crop is not None and self.crop[0] > self.crop[1]:
            raise ValueError(f"crop: got {list(self.crop)}, expected [least, most]")


@dataclass(frozen=True)
class AugmentConfig:
    """The view that a method trains on, or the two; without a second both are drawn alike."""

    first: ViewConfig
    second: ViewConfig | None


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
