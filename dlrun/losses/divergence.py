"""How far a Gaussian posterior is from the prior, in nats (the lecture notes' 4.8)."""

import torch
from torch import Tensor


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
