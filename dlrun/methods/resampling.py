"""How often each image is drawn: rare ones more often. Pure functions, float64.

Amini et al. 2019 (AIES), section 3.3, as their code has it, with two repairs. Their histograms are
densities of raw means, so that alpha weighs by the unit's scale: a unit that has collapsed has a
tiny range, a huge density, and no alpha that smooths it. Here they are probabilities of bins of
standardised means, and units that carry nothing are passed over. Their paper multiplies over units,
which over- and underflows at a hundred of them; their code takes the largest, and so does `max`.
"""

from typing import Literal

import torch
from torch import Tensor

Combine = Literal["max", "product", "topk", "mean"]

ACTIVE = 1e-2  # Burda et al. 2016, arXiv 1509.00519, section 5.2: variance of the posterior's mean


def bin_rarity(mu: Tensor, bins: int, alpha: float, clip: float = 0.0) -> Tensor:
    """For each active unit, how rare each image is along it: (N, A), each column sums to 1.

    `p = 1 / (h + alpha)` of the image's bin, h being the share of the images in it.

    Args:
        mu: (N, D) means of the posterior; of their units only A are active.
        bins: equally wide ones for each unit.
        alpha: smoothing, in shares of the images: the larger, the nearer to uniform.
        clip: share at either end that does not widen the bins, but falls into the outermost.
    """
    z = mu.double()
    spread = z.var(0, correction=0)
    active = spread > ACTIVE
    z = ((z - z.mean(0))[:, active] / spread[active].sqrt()).T.contiguous()  # (A, N)
    edges = torch.linspace(0, 1, bins + 1, dtype=z.dtype, device=z.device)[1:-1]
    low, high = _ends(z, clip)
    place = torch.searchsorted(low + (high - low) * edges, z, right=True)  # open at both ends
    share = torch.stack([(place == k).sum(1) for k in range(bins)], 1).double() / z.shape[1]
    smoothed = share + alpha
    smoothed = smoothed / smoothed.sum(1, keepdim=True)
    rarity = 1 / smoothed.gather(1, place)
    return (rarity / rarity.sum(1, keepdim=True)).T


def _ends(z: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Where the bins of each unit begin and end, (A, 1) and (A, 1), of (A, N)."""
    in_order = z.sort(1).values
    outside = int(clip * (z.shape[1] - 1))
    return in_order[:, outside, None], in_order[:, z.shape[1] - 1 - outside, None]


def latent_weights(
    mu: Tensor, bins: int, alpha: float, combine: Combine = "max", top: int = 1, clip: float = 0.0
) -> Tensor:
    """The chance of each image to be drawn, (N,), float64, sums to 1.

    Args:
        mu, bins, alpha, clip: as in `bin_rarity`.
        combine: over the active units, the largest rarity, their product, the product of the
            `top` largest, or their mean; without any active unit all images are alike.
        top: of `topk`.
    """
    rarity = bin_rarity(mu, bins, alpha, clip)
    if not rarity.shape[1]:
        return uniform_weights(mu)
    if combine in ("product", "topk"):
        logs = rarity.log()
        if combine == "topk":
            logs = logs.topk(min(top, logs.shape[1]), 1).values
        return logs.sum(1).softmax(0)
    joined = rarity.amax(1) if combine == "max" else rarity.mean(1)
    return joined / joined.sum()


def uniform_weights(like: Tensor) -> Tensor:
    """The same for each row of `like`, (N,), float64."""
    return torch.full((len(like),), 1 / len(like), dtype=torch.float64, device=like.device)


def balanced_weights(columns: list[Tensor]) -> Tensor:
    """Each combination of classes that occurs is drawn equally often, (N,), float64, sums to 1.

    Args:
        columns: int64 (N,) each; -1, unknown, is a class of its own.
    """
    group = torch.zeros_like(columns[0])
    for column in columns:
        known = column + 1
        group = group * (known.max() + 1) + known
    _, member, count = group.unique(return_inverse=True, return_counts=True)
    weights: Tensor = 1 / count.double()[member]
    return weights / weights.sum()


def effective_sample_size(weights: Tensor) -> Tensor:
    """1 / sum(w^2), (): so many images drawn uniformly are as varied as these."""
    return 1 / weights.double().square().sum()
