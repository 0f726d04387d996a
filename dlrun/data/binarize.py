"""Black or white instead of grey, drawn once and for all."""

import torch
from torch import Tensor

_BITS = 24  # of a uniform number: the grain of float32 below 1
# Odd 64-bit numbers of splitmix64 (Steele, Lea and Flood 2014), as torch's signed integers.
_STEP, _FIRST, _SECOND = (
    0x9E3779B97F4A7C15 - 2**64,
    0xBF58476D1CE4E5B9 - 2**64,
    0x94D049BB133111EB - 2**64,
)


def binarize(image: Tensor) -> Tensor:
    """Each pixel 1 with its grey value as the chance, else 0; the same image always gives the same.

    Static binarisation (Larochelle and Murray 2011), with the image itself as the seed, so that it
    needs no file and is the same in every batch, split and run. Of (B, C, H, W) in [0, 1], the same
    shape and dtype.
    """
    levels = (image.flatten(1) * 255).round().to(torch.int64)
    place = torch.arange(1, levels.shape[1] + 1, device=image.device) * _STEP
    of_image = (_mixed(levels + 1 + place) * place).sum(1, keepdim=True)
    uniform = _shifted(_mixed(of_image + place), 64 - _BITS).double() / 2**_BITS
    drawn: Tensor = uniform.view(image.shape) < image
    return drawn.to(image.dtype)


def _mixed(x: Tensor) -> Tensor:
    """Integers to integers that look drawn: splitmix64's finisher, modulo 2^64."""
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, with zeros coming in: torch's own shift repeats the sign."""
    return x.bitwise_right_shift(bits).bitwise_and(2 ** (64 - bits) - 1)
