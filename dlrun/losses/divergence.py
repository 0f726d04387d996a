"""How far one distribution is from another, in nats (the lecture notes' 4.8)."""

import torch
from torch import Tensor


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) = `sum_k p_k log(p_k / q_k)` (Kullback and Leibler 1951), of each row.

    `0 log 0` is 0; where q is 0 and p is not, it is infinite. Not symmetric, so the order matters:
    the lecture notes' 4.8 calls p the prior and q the posterior, but what a variational autoencoder
    minimises is KL(posterior || prior), the posterior first (Kingma and Welling 2014, arXiv
    1312.6114, equation 3), as the notes' own 4.8.1 has it.

    Of p and q, both (B, K), rows of probabilities: (B,), float32.
    """
    p, q = p.float(), q.float()
    there = p > 0
    # Replaced before the logarithm too: an infinite slope times zero would be NaN.
    log_ratio = p.where(there, 1).log() - q.where(there, 1).log()
    return (p * log_ratio).sum(1)


def gaussian_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, sigma^2) || N(0, 1)) = -1/2 sum(1 + log sigma^2 - mu^2 - sigma^2).

    Kingma and Welling 2014, arXiv 1312.6114, appendix B; the lecture notes' 4.8.1. Infinite in
    float32 where log sigma^2 is above 88. Of (B, D) and (B, D): nats (B,), float32, or float64 of
    float64.
    """
    return gaussian_kl_of_each(mu, logvar).sum(1)


def gaussian_kl_of_each(mu: Tensor, logvar: Tensor) -> Tensor:
    """The terms of `gaussian_kl`, one for each number of the code: nats (B, D)."""
    exact = torch.promote_types(mu.dtype, torch.float32)
    mu, logvar = mu.to(exact), logvar.to(exact)
    return -0.5 * (1 + logvar - mu.square() - logvar.exp())
