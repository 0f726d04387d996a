"""Means, standard deviations and Student's t, for the handful of numbers that seeds give.

Small enough not to need scipy, against which the tests check it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_ROUNDING = 1e-14  # of the values: so much may equal differences differ by


@dataclass(frozen=True)
class Spread:
    """What `n` runs that differ in their seeds reached; `f"{spread:.3f}"` is 0.912 ± 0.004.

    Where a value is NaN or infinite the mean says so, and there is no deviation.
    """

    mean: float
    std: float | None
    """Of the sample, with n - 1; None for one run."""
    n: int
    low: float
    """The lowest value; NaN where the mean is."""
    high: float

    def __format__(self, form: str) -> str:
        deviation = "" if self.std is None else f" ± {self.std:{form}}"
        return f"{self.mean:{form}}{deviation}"


@dataclass(frozen=True)
class Paired:
    """A paired t-test of b - a over the same seeds."""

    difference: float
    low: float | None
    high: float | None
    """The 95% interval of the difference."""
    t: float | None
    p: float | None
    """Two-sided. These four are None where all pairs differ by the same amount: without a spread
    there is no test."""
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Mean, deviation and range of at least one value."""
    n = len(values)
    if not all(map(math.isfinite, values)):
        mean = sum(values) / n
        low, high = (mean, mean) if math.isnan(mean) else (min(values), max(values))
        return Spread(mean, None, n, low, high)
    mean = math.fsum(values) / n
    # Not by squares, which overflow from 1e154 on.
    deviation = math.hypot(*(x - mean for x in values)) / math.sqrt(n - 1) if n > 1 else None
    return Spread(mean, deviation, n, min(values), max(values))


def paired(a: Sequence[float], b: Sequence[float]) -> Paired | None:
    """The test of b - a, pair by pair; None of fewer than two pairs or what is not finite."""
    differences = [y - x for x, y in zip(a, b, strict=True)]
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return None
    found = spread(differences)
    assert found.std is not None
    if found.std <= _ROUNDING * max(map(abs, (*a, *b))):
        return Paired(found.mean, None, None, None, None, found.n)
    error = found.std / math.sqrt(found.n)
    half = t_quantile(0.975, found.n - 1) * error
    t = found.mean / error
    p = 2 * t_tail(abs(t), found.n - 1)
    return Paired(found.mean, found.mean - half, found.mean + half, t, p, found.n)


def t_tail(t: float, freedom: int) -> float:
    """P(T > t) of Student's distribution, for t >= 0."""
    return 0.5 * _incomplete_beta(freedom / (freedom + t * t), freedom / 2, 0.5)


def t_quantile(probability: float, freedom: int) -> float:
    """The t below which `probability`, in [0.5, 1), of Student's distribution lies."""
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > 1 - probability:
        low, high = high, 2 * high
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - probability else (low, middle)
    return middle


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised I_x(a, b) by its series (Abramowitz and Stegun, 26.5.4)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # where the series of the mirrored integral is shorter
        return 1 - _incomplete_beta(1 - x, b, a)
    total, term, n = 1.0, 1.0, 0
    while term > 1e-17 * total:
        term *= x * (a + b + n) / (a + 1 + n)
        total, n = total + term, n + 1
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return total * math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta) / a
