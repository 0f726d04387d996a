"""How alike two sets of images are, by their features (N, D), in float64.

Each number has the standard error of a jackknife that leaves out images of either set in turn
(Efron and Stein 1981). It is too large for statistics with a vanishing first-order term, as for two
sets of one distribution. A bootstrap would not do: an image drawn twice is its own neighbour.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ENOUGH = 10  # images for each feature: with fewer, a covariance is mostly noise and FID too large
_GROUPS = 10  # that are left out in turn if leaving out single images would take too long
_NEIGHBOURS = 3  # Kynkaanniemi et al. 2019, arXiv 1904.06991, section 3.1
_CHUNK = 2000


@dataclass(frozen=True)
class Estimate:
    """A number and its standard error, NaN if there are too few images for one."""

    value: float
    error: float


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^1/2) of Gaussians fitted to (N, D) and (M, D).

    Heusel et al. 2017, arXiv 1706.08500, equation 6; covariances with N - 1. With S = F^T F the
    trace of the root is the sum of the singular values of F_x F_y^T: no root of a matrix that may
    be singular, and nothing complex or negative.
    """
    x, y = x.double(), y.double()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    factor_x, factor_y = _factor(x), _factor(y)
    shared = torch.linalg.svdvals(factor_x @ factor_y.mT).sum()
    spread = factor_x.square().sum() + factor_y.square().sum()
    return float((shift + spread - 2 * shared).clamp(min=0))


def _factor(x: Tensor) -> Tensor:
    """F with F^T F the covariance of x (N, D): (min(N, D), D)."""
    centred = (x - x.mean(0)) / math.sqrt(len(x) - 1)
    if len(x) <= x.shape[1]:
        return centred
    factor: Tensor = torch.linalg.qr(centred, mode="r").R
    return factor


def frechet(x: Tensor, y: Tensor) -> Estimate:
    """`frechet_distance` and its error, leaving out a tenth of either set in turn."""
    x, y = x.double(), y.double()
    value = frechet_distance(x, y)
    if min(len(x), len(y)) < 2 * _GROUPS:
        return Estimate(value, math.nan)
    without_x = [frechet_distance(x[kept], y) for kept in _without(len(x))]
    without_y = [frechet_distance(x, y[kept]) for kept in _without(len(y))]
    return Estimate(value, _jackknife(*torch.tensor([without_x, without_y], dtype=torch.float64)))


def kernel_distance(x: Tensor, y: Tensor) -> Estimate:
    """Squared maximum mean discrepancy, unbiased, with the kernel (x . y / D + 1)^3: KID.

    Binkowski et al. 2018, arXiv 1801.01401, section 4; Gretton et al. 2012, equation 3. May be
    below zero. All images at once, not the mean over subsets of them; the error is that of leaving
    out each single image.

    Args:
        x: features (N, D), N >= 3.
        y: features (M, D), M >= 3.
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    of_x, of_y = xx.sum(1) - xx.diagonal(), yy.sum(1) - yy.diagonal()
    inside_x, inside_y, across = of_x.sum(), of_y.sum(), xy.sum()
    mean_x, mean_y = inside_x / (n * (n - 1)), inside_y / (m * (m - 1))
    value = mean_x + mean_y - 2 * across / (n * m)
    fewer_x = (inside_x - 2 * of_x) / ((n - 1) * (n - 2))
    fewer_y = (inside_y - 2 * of_y) / ((m - 1) * (m - 2))
    without_x = fewer_x + mean_y - 2 * (across - xy.sum(1)) / ((n - 1) * m)
    without_y = mean_x + fewer_y - 2 * (across - xy.sum(0)) / (n * (m - 1))
    return Estimate(float(value), _jackknife(without_x, without_y))


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


class Manifold:
    """Where a set of images lies: a ball around each that reaches its third nearest neighbour.

    Kynkaanniemi et al. 2019, arXiv 1904.06991, equation 1. The fraction of other images in it is
    their precision if the set is real, and their recall if the set was generated.
    """

    def __init__(self, features: Tensor) -> None:
        """Of features (N, D); with too few the balls reach to the farthest."""
        self.features = features.double()
        everything = torch.ones(len(features), dtype=torch.bool)
        self._kept = [everything, *(_without(len(features)) if len(features) >= 40 else ())]
        found: list[list[Tensor]] = [[] for _ in self._kept]
        for first in range(0, len(features), _CHUNK):
            part = slice(first, first + _CHUNK)
            distance = _distances(self.features[part], self.features)
            rows = torch.arange(len(distance))
            distance[rows, rows + first] = math.inf  # an image is not its own neighbour
            for radii, kept in zip(found, self._kept, strict=True):
                others = distance[kept[part]][:, kept]
                k = max(1, min(_NEIGHBOURS, others.shape[1] - 1))
                radii.append(others.topk(k, dim=1, largest=False).values[:, -1])
        self._radii = [torch.cat(radii) for radii in found]  # of all, and without each tenth

    def share(self, others: Tensor) -> Estimate:
        """The fraction of features (M, D) that lie in some ball."""
        inside: list[list[Tensor]] = [[] for _ in self._kept]
        for part in others.double().split(_CHUNK):
            distance = _distances(part, self.features)
            for found, kept, radii in zip(inside, self._kept, self._radii, strict=True):
                found.append((distance[:, kept] <= radii).any(1))
        whole, *fewer = (torch.cat(found).double() for found in inside)
        if not fewer or len(others) < 3:
            return Estimate(float(whole.mean()), math.nan)
        without_balls = torch.stack([found.mean() for found in fewer])
        without_others = (whole.sum() - whole) / (len(whole) - 1)
        return Estimate(float(whole.mean()), _jackknife(without_balls, without_others))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _without(n: int) -> list[Tensor]:
    """Which of n stay, (n,) bool, when each tenth of them is left out in turn."""
    group = torch.arange(n) % _GROUPS
    return [group != left_out for left_out in range(_GROUPS)]


def _jackknife(*without: Tensor) -> float:
    """The standard error of a statistic of independent sets, from its values without each part."""
    variance = sum(
        (len(values) - 1) / len(values) * (values - values.mean()).square().sum()
        for values in without
    )
    return math.sqrt(float(variance))


def counted(hits: Tensor) -> Estimate:
    """The fraction of (N,) bool that is true, with a binomial error that is not 0 at 0 and 1.

    Agresti and Coull 1998: two hits and two misses are added.
    """
    n = len(hits)
    centre = (int(hits.sum()) + 2) / (n + 4)
    return Estimate(float(hits.double().mean()), math.sqrt(centre * (1 - centre) / (n + 4)))
