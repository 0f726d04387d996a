"""The parts of a VAE's bound, each in nats an image, (B,): likelihoods of images, KL, binarisation.

The likelihoods are classes, since each also says which picture an output is (`mean`) and whether it
is a probability of black and white (`binary`) or a density. They are sums over pixels: the KL term
is a sum too, and a mean would change beta by half the number of pixels.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.options import Positive

_BITS = 24  # of a uniform number: the precision of float32 below 1
# Odd 64-bit numbers of splitmix64 (Steele, Lea and Flood 2014), as torch's signed integers.
_STEP, _FIRST, _SECOND = (
    0x9E3779B97F4A7C15 - 2**64,
    0xBF58476D1CE4E5B9 - 2**64,
    0x94D049BB133111EB - 2**64,
)


class Bernoulli(nn.Module):
    """`-sum x log p + (1 - x) log(1 - p)`, p the sigmoid of the output.

    A likelihood where x is black or white. On grey values the same formula trains too, but as a
    pseudo-likelihood: its value is not a log-probability, and not comparable with published ones.
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

    With sigma = 1 / sqrt(2) the lecture notes' squared error and a constant, which makes it a
    density's logarithm. One sigma for all pixels may be learned with the networks (Rybkin et al.
    2021, arXiv 2006.13202): it settles at the root of the mean squared error, and so balances
    reconstruction and KL term.
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


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)) = -1/2 sum(1 + log sigma^2 - mu^2 - sigma^2).

    Kingma and Welling 2014, arXiv 1312.6114, appendix B; the lecture notes' 4.8.1. The posterior
    comes first; the notes' 4.8 calls p the prior in KL(p || q), which is another number. Infinite
    in float32 where log sigma^2 is above 88. Of (B, D) and (B, D): nats (B,), float32, or float64
    of float64.
    """
    return gaussian_kl_of_each(mu, logvar).sum(1)


def gaussian_kl_of_each(mu: Tensor, logvar: Tensor) -> Tensor:
    """The terms of `gaussian_kl`, one for each dimension of the code: nats (B, D)."""
    exact = torch.promote_types(mu.dtype, torch.float32)
    mu, logvar = mu.to(exact), logvar.to(exact)
    return -0.5 * (1 + logvar - mu.square() - logvar.exp())


def binarize(image: Tensor) -> Tensor:
    """Each pixel 1 with its grey value as the chance, else 0; the same image always gives the same.

    Static binarisation (Larochelle and Murray 2011), with the image itself as the seed, so that it
    needs no file and is the same in every batch, split and run. Of (B, C, H, W) in [0, 1], the same
    shape and dtype.
    """
    levels = (image.flatten(1) * 255).round().to(torch.int64)
    position = torch.arange(1, levels.shape[1] + 1, device=image.device) * _STEP
    of_image = (_mixed(levels + 1 + position) * position).sum(1, keepdim=True)
    uniform = _shifted(_mixed(of_image + position), 64 - _BITS).view(image.shape)
    # As whole numbers, exactly: not every device has float64.
    exact = image.to(torch.promote_types(image.dtype, torch.float32))
    drawn: Tensor = uniform < (exact * 2.0**_BITS).ceil().long()
    return drawn.to(image.dtype)


def _mixed(x: Tensor) -> Tensor:
    """Integers to integers that look random: splitmix64's finisher, modulo 2^64."""
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, filled with zeros: torch's own shift repeats the sign."""
    return x.bitwise_right_shift(bits).bitwise_and(2 ** (64 - bits) - 1)
