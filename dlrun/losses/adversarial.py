"""What a generator and a discriminator make of scores: `loss(scores, real)`.

`real=True` is the target of real images, and for a generator of its own; `for_generator` tells the
two apart where the formula does (hinge).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def least_squares(scores: Tensor, real: bool) -> Tensor:
    """`(score - target)^2` with targets 1 and 0 (Mao et al. 2017, arXiv 1611.04076, equation 9).

    Of scores of any shape: their mean, a number, float32.
    """
    scores = scores.float()
    return F.mse_loss(scores, torch.full_like(scores, float(real)))


def binary_cross_entropy(scores: Tensor, real: bool) -> Tensor:
    """`-log D` for real, `-log(1 - D)` for fake, D the sigmoid (Goodfellow et al. 2014).

    Of logits of any shape: the mean, in nats, float32.
    """
    scores = scores.float()
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))


def hinge(scores: Tensor, real: bool, for_generator: bool) -> Tensor:
    """`max(0, 1 -+ score)` for a discriminator, `-score` for a generator.

    Lim and Ye 2017, arXiv 1705.02894. Of scores of any shape: the mean, float32.
    """
    signed = scores.float() if real else -scores.float()
    return -signed.mean() if for_generator else F.relu(1 - signed).mean()


@dataclass(frozen=True)
class NoOptions:
    """Takes none."""


class LeastSquares(nn.Module):
    """`least_squares`."""

    kind = "scores"
    Config = NoOptions

    def __init__(self, config: NoOptions) -> None:
        super().__init__()

    def forward(self, scores: Tensor, real: bool, for_generator: bool = False) -> Tensor:
        """Of scores of any shape: their mean, a number, float32."""
        return least_squares(scores, real)


class BinaryCrossEntropy(nn.Module):
    """Not saturating: a generator minimises `-log D` (Goodfellow et al. 2014, section 3)."""

    kind = "scores"
    Config = NoOptions

    def __init__(self, config: NoOptions) -> None:
        super().__init__()

    def forward(self, scores: Tensor, real: bool, for_generator: bool = False) -> Tensor:
        """Of logits of any shape: the mean, in nats, float32."""
        return binary_cross_entropy(scores, real)


class Hinge(nn.Module):
    """`hinge`."""

    kind = "scores"
    Config = NoOptions

    def __init__(self, config: NoOptions) -> None:
        super().__init__()

    def forward(self, scores: Tensor, real: bool, for_generator: bool = False) -> Tensor:
        """Of scores of any shape: the mean, float32."""
        return hinge(scores, real, for_generator)
