"""The multi-layer perceptron."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from dlrun.models.encoder import EncoderConfig
from dlrun.options import Count


class MLP(nn.Module):
    """Image (B, C, H, W) to features (B, feature_dim): fully connected layers, each with ReLU."""

    kind = "encoder"
    channels_last = False

    @dataclass(frozen=True)
    class Config(EncoderConfig):
        hidden: tuple[Count, ...]
        batch_norm: bool

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        widths = [prod(image_shape), *config.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for below, above in pairwise(widths):
            layers.append(nn.Linear(below, above, bias=not config.batch_norm))
            if config.batch_norm:
                layers.append(nn.BatchNorm1d(above))
            layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)
        self.feature_dim = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        features: Tensor = self.layers(x)
        return features
