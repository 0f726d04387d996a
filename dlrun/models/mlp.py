"""The multi-layer perceptron."""

from dataclasses import dataclass
from math import prod

from torch import nn

from dlrun.models.encoder import EncoderConfig, fully_connected
from dlrun.options import Count


class MLP(nn.Sequential):
    """Image (B, C, H, W) to features (B, feature_dim), not negative: fully connected, with ReLU."""

    kind = "encoder"

    @dataclass(frozen=True)
    class Config(EncoderConfig):
        hidden: tuple[Count, ...]
        batch_norm: bool

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        widths = [prod(image_shape), *config.hidden]
        super().__init__(nn.Flatten(), *fully_connected(widths, config.batch_norm))
        self.feature_dim = widths[-1]
