"""Likelihoods of images: `-log p(x | decoder's output)`, summed over pixels, in nats an image.

Classes, since each also says what picture the output stands for (`mean`) and whether it is a
likelihood of black and white (`binary`) or a density of numbers. All are per image, (B,), never a
mean over pixels: the KL term beside them is a sum, and a mean would change beta by half the number
of pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.options import Positive


class Bernoulli(nn.Module):
    """`-sum x log p + (1 - x) log(1 - p)`, p the sigmoid of the output.

    A likelihood where x is black or white. On grey values the same formula is trained with all the
    same, but it is a pseudo-likelihood: its number is not a log-probability and compares with no
    published one.
    """

    kind = "images"
    binary = True

    @dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, config: Config) -> None:
        super().__init__()

    def forward(self, output: Tensor, image: Tensor) -> Tensor:
        """Of output (B, C, H, W), logits, and image, [0, 1]: nats an image (B,), float32."""
        pixels = F.binary_cross_entropy_with_logits(output.float(), image.float(), reduction="none")
        return pixels.flatten(1).sum(1)

    def mean(self, output: Tensor) -> Tensor:
        """The picture in [0, 1]."""
        return torch.sigmoid(output.float())


class Gaussian(nn.Module):
    """`|x - m|^2 / (2 sigma^2) + D log(sigma sqrt(2 pi))`, m the output.

    The lecture notes' squared error.

    sigma = 1 / sqrt(2) makes it the bare squared error but for a constant. The constant is kept, so
    that the number is a density's logarithm. One sigma for all pixels may be learned with the
    networks (Rybkin et al. 2021, arXiv 2006.13202), which settles at the root of the mean squared
    error and with it the balance of reconstruction and KL term.
    """

    kind = "images"
    binary = False

    @dataclass(frozen=True)
    class Config:
        sigma: Positive
        learned: bool

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.log_sigma: Tensor
        log_sigma = torch.tensor(math.log(config.sigma))
        if config.learned:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma, persistent=False)

    @property
    def sigma(self) -> Tensor:
        """A pixel's standard deviation, ()."""
        return self.log_sigma.exp()

    def forward(self, output: Tensor, image: Tensor) -> Tensor:
        """Of output and image, both (B, C, H, W): nats an image (B,), float32."""
        error = (output.float() - image.float()).square().flatten(1)
        constant = error.shape[1] * (self.log_sigma + 0.5 * math.log(2 * math.pi))
        return error.sum(1) / (2 * self.sigma.square()) + constant

    def mean(self, output: Tensor) -> Tensor:
        """The picture in [0, 1]."""
        return output.float().clamp(0, 1)
