"""Scores of a discriminator: `loss(scores, real)`.

`real=True` is the target of real images, and of its own images for a generator; `for_generator`
tells the two apart where the formula does (hinge). `guessing` is the lowest loss, averaged over
real and generated images, of a discriminator that gives every image the same score.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.losses.base import loss


@loss("scores", guessing=0.25)
def least_squares(scores: Tensor, real: bool, for_generator: bool = False) -> Tensor:
    """`(score - target)^2` with targets 1 and 0 (Mao et al. 2017, arXiv 1611.04076, equation 9).

    Of scores of any shape: their mean, a number, float32.
    """
    scores = scores.float()
    return F.mse_loss(scores, torch.full_like(scores, float(real)))


@loss("scores", guessing=math.log(2))
def binary_cross_entropy(scores: Tensor, real: bool, for_generator: bool = False) -> Tensor:
    """`-log D` for real, `-log(1 - D)` for fake, D the sigmoid (Goodfellow et al. 2014).

    Not saturating: a generator minimises `-log D` (section 3). Of logits of any shape: the mean,
    in nats, float32.
    """
    scores = scores.float()
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, float(real)))


@loss("scores", guessing=1.0)
def hinge(scores: Tensor, real: bool, for_generator: bool = False) -> Tensor:
    """`max(0, 1 -+ score)` for a discriminator, `-score` for a generator.

    Lim and Ye 2017, arXiv 1705.02894. Of scores of any shape: the mean, float32.
    """
    signed = scores.float() if real else -scores.float()
    return -signed.mean() if for_generator else F.relu(1 - signed).mean()
