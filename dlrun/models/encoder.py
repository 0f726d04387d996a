"""What every encoder's options share.

An encoder maps an image (B, C, H, W) to features (B, feature_dim). Loading and freezing its weights
is done by the `Builder` of a method's networks.
"""

from dataclasses import dataclass
from typing import Literal

from dlrun.options import NonEmpty


@dataclass(frozen=True)
class EncoderConfig:
    """Where an encoder's weights come from, and whether they are trained."""

    init_from: NonEmpty | None
    freeze: Literal["backbone"] | None
