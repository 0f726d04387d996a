"""DB-VAE's weights: how often each image is drawn, rare ones more often. Pure functions, float64.

Amini et al. 2019 (AIES), section 3.3, as their code has it, with two corrections. Their histograms
are densities of raw means, so that alpha weighs by the unit's scale: a unit that has collapsed has
a tiny range, a huge density, and no alpha that smooths it. Here they are probabilities of bins of
standardised means, and inactive units are left out. Their paper multiplies over units, which over-
and underflows at a hundred of them; their code takes the largest, and so does `max`.
"""

from typing import Literal

import torch
from torch import Tensor

from dlrun.data.table import Table, exact
from dlrun.errors import UserError
from dlrun.randomness import generator

Combine = Literal["max", "product", "topk", "mean"]

ACTIVE = 1e-2  # Burda et al. 2016, arXiv 1509.00519, section 5.2: variance of the posterior's mean


def positive_rows(table: Table, positive: int | None) -> tuple[Tensor, Tensor]:
    """The rows of the positive class and all others, int64 each; without one, all rows and none.

    Raises:
        UserError: no image is positive.
    """
    labels = table.labels
    if positive is None or labels is None:
        rows = torch.arange(len(table), device=table.images.device)
        return rows, rows[:0]
    found = (labels == positive).nonzero()[:, 0], (labels != positive).nonzero()[:, 0]
    if not len(found[0]):
        raise UserError("dataset.positive: no train image has that class")
    return found


def bin_rarity(mu: Tensor, bins: int, alpha: float, clip: float = 0.0) -> Tensor:
    """For each active unit, how rare each image is along it: (N, A), each column sums to 1.

    `p = 1 / (h + alpha)` of the image's bin, h being the fraction of the images in it.

    Args:
        mu: (N, D) means of the posterior, of which A are active.
        bins: how many, equally wide.
        alpha: smoothing, a fraction of the images: the larger, the nearer to uniform.
        clip: fraction at either end that falls into the outermost bins without widening them.
    """
    z = mu.double()
    variance = z.var(0, correction=0)
    active = variance > ACTIVE
    z = ((z - z.mean(0))[:, active] / variance[active].sqrt()).T.contiguous()  # (A, N)
    edges = torch.linspace(0, 1, bins + 1, dtype=z.dtype, device=z.device)[1:-1]
    in_order, outside = z.sort(1).values, int(clip * (z.shape[1] - 1))
    low = in_order[:, outside, None]
    high = in_order[:, z.shape[1] - 1 - outside, None]
    index = torch.searchsorted(low + (high - low) * edges, z, right=True)  # open at both ends
    fraction = torch.stack([(index == k).sum(1) for k in range(bins)], 1).double() / z.shape[1]
    smoothed = fraction + alpha
    smoothed = smoothed / smoothed.sum(1, keepdim=True)
    rarity = 1 / smoothed.gather(1, index)
    return (rarity / rarity.sum(1, keepdim=True)).T


def latent_weights(
    mu: Tensor, bins: int, alpha: float, combine: Combine = "max", top: int = 1, clip: float = 0.0
) -> Tensor:
    """The chance of each image to be drawn, (N,), float64, sums to 1.

    Args:
        mu, bins, alpha, clip: as in `bin_rarity`.
        combine: over the active units, the largest rarity, their product, the product of the
            `top` largest (topk), or their mean. Without an active unit all images are alike.
        top: see there.
    """
    rarity = bin_rarity(mu, bins, alpha, clip)
    if not rarity.shape[1]:
        return uniform_weights(mu)
    if combine in ("product", "topk"):
        logs = rarity.log()
        if combine == "topk":
            logs = logs.topk(min(top, logs.shape[1]), 1).values
        return logs.sum(1).softmax(0)
    combined = rarity.amax(1) if combine == "max" else rarity.mean(1)
    return combined / combined.sum()


def uniform_weights(like: Tensor) -> Tensor:
    """The same for each row of `like`, (N,), float64."""
    return torch.full((len(like),), 1 / len(like), dtype=torch.float64, device=like.device)


def balanced_weights(columns: list[Tensor]) -> Tensor:
    """Each combination of classes that occurs is drawn equally often, (N,), float64, sums to 1.

    Args:
        columns: int64 (N,) each; -1, unknown, counts as another class.
    """
    group = torch.zeros_like(columns[0])
    for column in columns:
        known = column + 1
        group = group * (known.max() + 1) + known
    _, member, count = group.unique(return_inverse=True, return_counts=True)
    weights: Tensor = 1 / exact(count[member])
    return weights / weights.sum()


def effective_sample_size(weights: Tensor) -> Tensor:
    """1 / sum(w^2), (): as many images drawn uniformly are as varied as these."""
    return 1 / exact(weights).square().sum()


class WeightedOrder:
    """Rows drawn with replacement by weights, which may change from batch to batch.

    Args:
        weights: of all rows, (N,), on any device; read again whenever they were written to.
        start: int64, the rows that are drawn uniformly while all weights are 0.
        seed: the run's.
        purpose: keeps two orders of one run apart.
    """

    def __init__(self, weights: Tensor, start: Tensor, seed: int, purpose: str) -> None:
        self.weights, self.start, self.seed, self.purpose = weights, start, seed, purpose
        self._cumulated, self._version = torch.zeros(0), -1

    def batch(self, number: int, size: int) -> Tensor:
        """The rows of batch `number` counted from the start of the run, int64 (size,)."""
        cumulated = self._sums()
        random = generator(self.seed, self.purpose, number)
        uniform = torch.rand(size, generator=random).double()
        drawn = torch.searchsorted(cumulated, uniform * cumulated[-1], right=True)
        return drawn.clamp_(max=len(cumulated) - 1)

    def _sums(self) -> Tensor:
        """On the CPU, so that every device draws alike; copied only when the weights changed."""
        weights = self.weights
        if weights._version != self._version:
            chances = weights
            if not weights.any():
                chances = torch.zeros_like(weights)
                chances[self.start] = 1
            self._cumulated, self._version = exact(chances).cumsum(0), weights._version
        return self._cumulated
