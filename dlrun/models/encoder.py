"""What encoders share: where their weights come from, initialisation, fully connected layers.

An encoder maps an image (B, C, H, W) to features (B, feature_dim). Loading and freezing its weights
is done by the `Builder` of a method's networks.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import nn

from dlrun.options import FilePath


@dataclass(frozen=True)
class EncoderConfig:
    """Where an encoder's weights come from, and whether they are trained."""

    init_from: FilePath | None
    freeze: Literal["backbone"] | None


def initialise_for_relu(network: nn.Module) -> None:
    """Convolutions as for ReLU (He et al. 2015, arXiv 1502.01852, equation 14), their biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def fully_connected(widths: list[int], batch_norm: bool = False) -> list[nn.Module]:
    """A fully connected layer with ReLU from each width to the next."""
    layers: list[nn.Module] = []
    for below, above in pairwise(widths):
        layers.append(nn.Linear(below, above, bias=not batch_norm))  # batch norm would remove it
        if batch_norm:
            layers.append(nn.BatchNorm1d(above))
        layers.append(nn.ReLU())
    return layers
