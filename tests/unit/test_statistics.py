"""Student's t against scipy's."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlrun.runs.statistics import paired, spread, t_quantile, t_tail

scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle here")
VALUES = st.floats(-100, 100)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 10, 30, 100, 1000])
def test_the_tail_is_scipys(freedom: int) -> None:
    for t in (0.0, 1e-6, 0.1, 0.7, 1.0, 2.5, 6.0, 40.0, 1e4):
        expected = scipy_stats.t.sf(t, freedom)
        assert t_tail(t, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("freedom", [1, 2, 3, 5, 9, 29, 250])
def test_the_quantile_is_scipys(freedom: int) -> None:
    for probability in (0.5, 0.6, 0.9, 0.975, 0.995, 0.9999):
        expected = scipy_stats.t.ppf(probability, freedom)
        assert t_quantile(probability, freedom) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_paired_test_is_scipys(n: int) -> None:
    draw = random.Random(n)
    a = [draw.gauss(0.8, 0.05) for _ in range(n)]
    b = [x + draw.gauss(0.02, 0.01) for x in a]
    own, theirs = paired(a, b), scipy_stats.ttest_rel(b, a)
    assert own is not None
    low, high = theirs.confidence_interval(0.95)
    assert (own.t, own.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-8)
    assert (own.low, own.high) == pytest.approx((low, high), rel=1e-8)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=12))
def test_turning_the_sides_round_turns_the_sign_alone(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    one, other = paired(a, b), paired(b, a)
    assert one is not None and other is not None
    assert one.p == other.p and one.difference == -other.difference
    if one.p is None:  # all differ by the same
        assert max(b[0] - a[0] - (y - x) for x, y in pairs) < 1e-11
        assert (one.low, one.high, one.t) == (other.low, other.high, other.t) == (None, None, None)
        return
    assert one.low is not None and one.high is not None
    assert other.low is not None and other.high is not None
    assert 0 <= one.p <= 1 and one.low <= one.difference <= one.high
    assert (one.low, one.high) == (-other.high, -other.low)


def test_by_hand() -> None:
    told = spread([1.0, 2.0, 3.0])
    assert (told.mean, told.std, told.n, told.low, told.high) == (2.0, 1.0, 3, 1.0, 3.0)
    assert spread([4.0]).std is None
    assert (f"{told:.1f}", f"{spread([4.0]):.3f}") == ("2.0 ± 1.0", "4.000")
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)), and P(|T_2| > t) = 1 - t / sqrt(t^2 + 2).
    test = paired([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert test is not None
    t = 2 * math.sqrt(3)
    assert (test.t, test.p) == pytest.approx((t, 1 - t / math.sqrt(t * t + 2)))
    assert test.high - test.difference == pytest.approx(4.30265273 / math.sqrt(3))


def test_no_spread_and_too_few() -> None:
    for a, b, difference in (
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [1.5, 2.5], 0.5),
        ([0.81, 0.79], [0.84, 0.82], 0.03),  # 0.03 and 0.029999999999999916
    ):
        told = paired(a, b)
        assert told is not None and told.difference == pytest.approx(difference)
        assert (told.t, told.p, told.low, told.high) == (None, None, None, None)
    assert paired([1.0], [2.0]) is None
    assert paired([1.0, math.nan], [2.0, 3.0]) is None


def test_what_is_not_finite_shows_in_the_mean_and_has_no_deviation() -> None:
    diverged = spread([1.0, math.nan])
    assert math.isnan(diverged.mean) and math.isnan(diverged.low) and math.isnan(diverged.high)
    assert (diverged.std, diverged.n, f"{diverged:.3f}") == (None, 2, "nan")
    infinite = spread([1.0, math.inf])
    assert (infinite.mean, infinite.low, infinite.high) == (math.inf, 1.0, math.inf)
    assert (infinite.std, f"{infinite:.3f}") == (None, "inf")
    assert math.isnan(spread([-math.inf, math.inf]).mean)


def test_numbers_whose_squares_are_too_large() -> None:
    found = spread([1e308, 0.0])
    assert found.mean == 5e307 and found.std == pytest.approx(2**0.5 * 5e307)
