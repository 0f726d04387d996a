"""Distances between sets of features: closed forms, brute-force twins, and another library."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dlrun.evaluation.fidelity import (
    Manifold,
    counted,
    frechet,
    frechet_distance,
    kernel_distance,
)


def draw(n: int, d: int, seed: int, shift: float = 0.0) -> Tensor:
    noise = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise + shift


def exactly(mean: Tensor, covariance: Tensor, seed: int, n: int = 50) -> Tensor:
    """Points whose sample mean and covariance are those, not only on average."""
    x = draw(n, len(mean), seed)
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def jackknife(*without: list[float]) -> float:
    """The standard error of two independent sets, from the values without each part of either."""
    return math.sqrt(
        sum((len(v) - 1) / len(v) * sum((one - sum(v) / len(v)) ** 2 for one in v) for v in without)
    )


# --- Frechet distance ----------------------------------------------------------------------------


def test_frechet_of_gaussians_with_independent_numbers() -> None:
    """|mu_x - mu_y|^2 + sum (s_x - s_y)^2."""
    mu = torch.tensor([[1.0, 0.0, -2.0], [0.5, 1.0, 3.0]], dtype=torch.float64)
    s = torch.tensor([[1.0, 2.0, 0.5], [3.0, 0.1, 0.5]], dtype=torch.float64)
    x, y = (exactly(mu[i], s[i].square().diag(), seed=i) for i in (0, 1))
    wanted = (mu[0] - mu[1]).square().sum() + (s[0] - s[1]).square().sum()
    assert frechet_distance(x, y) == pytest.approx(float(wanted), rel=1e-10)


@given(st.integers(0, 1000), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_frechet_by_the_eigenvalues_of_the_product(seed: int, d: int) -> None:
    x, y = draw(40, d, seed) @ draw(d, d, seed + 1), draw(30, d, seed + 2) @ draw(d, d, seed + 3)
    root = torch.linalg.eigvals(x.T.cov() @ y.T.cov()).sqrt().real.sum()
    traces = x.T.cov().trace() + y.T.cov().trace()
    wanted = (x.mean(0) - y.mean(0)).square().sum() + traces - 2 * root
    assert frechet_distance(x, y) == pytest.approx(float(wanted), rel=1e-6, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x), rel=1e-9)


def test_frechet_with_fewer_images_than_features() -> None:
    x = draw(5, 20, seed=0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(x, x + 2) == pytest.approx(80, rel=1e-6)
    assert math.isnan(frechet(x, x).error)


def test_frechets_error_leaves_out_a_tenth_of_either_set() -> None:
    x, y = draw(40, 3, 0), draw(60, 3, 1, shift=0.5)
    without_x = [frechet_distance(x[torch.arange(40) % 10 != i], y) for i in range(10)]
    without_y = [frechet_distance(x, y[torch.arange(60) % 10 != i]) for i in range(10)]
    found = frechet(x, y)
    assert found.value == frechet_distance(x, y)
    assert found.error == pytest.approx(jackknife(without_x, without_y), rel=1e-9)


# --- KID -----------------------------------------------------------------------------------------


def kid_by_hand(x: Tensor, y: Tensor) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    inside_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    inside_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    across = sum(k(a, b) for a in x for b in y)
    return inside_x / (n * (n - 1)) + inside_y / (m * (m - 1)) - 2 * across / (n * m)


def test_kid_and_its_error_by_hand() -> None:
    x, y = draw(7, 3, 0), draw(5, 3, 1, shift=1.0)
    found = kernel_distance(x.float(), y.float())
    x, y = x.float().double(), y.float().double()
    assert found.value == pytest.approx(kid_by_hand(x, y), rel=1e-10)
    without_x = [kid_by_hand(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(7)]
    without_y = [kid_by_hand(x, torch.cat([y[:i], y[i + 1 :]])) for i in range(5)]
    assert found.error == pytest.approx(jackknife(without_x, without_y), rel=1e-8)


@pytest.mark.parametrize(
    ("n", "d", "shift", "moments", "least", "most"),
    [
        (40, 4, 0.0, (0.0, 1.0, 0.0), 0.95, 1.0),  # wider than 95%, see the module
        (200, 1, 0.5, (0.5, 1.25, 3 * 0.5 + 0.5**3), 0.85, 0.99),
    ],
)
def test_kid_is_unbiased_and_its_interval_holds(
    n: int, d: int, shift: float, moments: tuple[float, float, float], least: float, most: float
) -> None:
    """(x x' + 1)^3 is 1 + 3 x x' + 3 x^2 x'^2 + x^3 x'^3 for D = 1.

    So KID is 3 (m1 - m1')^2 + 3 (m2 - m2')^2 + (m3 - m3')^2 with the moments of the two sets.
    """
    gap = (torch.tensor(moments) - torch.tensor([0.0, 1.0, 0.0])).square()
    wanted = float(3 * gap[0] + 3 * gap[1] + gap[2])
    found = [kernel_distance(draw(n, d, 2 * i), draw(n, d, 2 * i + 1, shift)) for i in range(300)]
    values = torch.tensor([estimate.value for estimate in found])
    assert abs(values.mean() - wanted) < 3 * values.std() / math.sqrt(len(values))
    held = sum(abs(estimate.value - wanted) <= 1.96 * estimate.error for estimate in found)
    assert least <= held / len(found) <= most
    assert (values.min() < 0) == (shift == 0)


# --- precision and recall ------------------------------------------------------------------------


def covered_by_hand(bank: Tensor, others: Tensor, k: int = 3) -> list[bool]:
    radii = []
    for i, one in enumerate(bank):
        away = sorted(float((one - two).norm()) for j, two in enumerate(bank) if j != i)
        radii.append(away[k - 1])
    return [
        any(float((o - b).norm()) <= r for b, r in zip(bank, radii, strict=True)) for o in others
    ]


@pytest.mark.parametrize("chunk", [7, 2000])
def test_a_manifolds_share_and_error_by_hand(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlrun.evaluation.fidelity._CHUNK", chunk)
    bank, others = draw(40, 2, 0), draw(25, 2, 1, shift=0.8)
    found = Manifold(bank).share(others)
    whole = covered_by_hand(bank, others)
    assert found.value == pytest.approx(sum(whole) / 25)
    without = []
    for group in range(10):
        kept = torch.stack([row for i, row in enumerate(bank) if i % 10 != group])
        without.append(sum(covered_by_hand(kept, others)) / 25)
    fewer = [(sum(whole) - one) / 24 for one in whole]
    assert found.error == pytest.approx(jackknife(without, fewer), rel=1e-9)


def test_dropped_modes_cost_recall_and_strangers_cost_precision() -> None:
    centres = torch.tensor([[0.0, 0.0], [50.0, 0.0]], dtype=torch.float64)
    real = torch.cat([draw(100, 2, i) + centres[i] for i in (0, 1)])
    one_mode, with_strangers = draw(200, 2, 5), torch.cat([real + 0.01, draw(200, 2, 6) - 500])
    assert Manifold(real).share(one_mode).value > 0.9
    assert 0.4 < Manifold(one_mode).share(real).value < 0.5
    assert Manifold(real).share(with_strangers).value == pytest.approx(0.5, abs=0.02)
    assert Manifold(real).share(real).value == 1


def test_few_images_have_no_interval_rather_than_a_wrong_one() -> None:
    assert math.isnan(Manifold(draw(39, 2, 0)).share(draw(39, 2, 1)).error)
    assert Manifold(draw(3, 2, 0)).share(draw(4, 2, 0)).value > 0


def test_a_share_of_all_is_not_certain() -> None:
    found = counted(torch.ones(46, dtype=torch.bool))
    assert found.value == 1
    assert found.error == pytest.approx(math.sqrt(0.96 * 0.04 / 50))


# --- another library -----------------------------------------------------------------------------


class _Means(nn.Module):
    """Eight numbers of an image: the mean of each row, from bytes."""

    num_features = 8

    def forward(self, image: Tensor) -> Tensor:
        return image.double().mean(dim=(1, 3)) / 64


def test_the_distances_are_those_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics")
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    chance = torch.Generator().manual_seed(0)
    real, made = (
        (torch.rand(60, 3, 8, 8, generator=chance) ** power * 255).byte() for power in (1.0, 1.3)
    )
    network = _Means()
    x, y = network(made), network(real)
    fid = FrechetInceptionDistance(feature=network, input_img_size=(3, 8, 8))
    fid.set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=network, subsets=1, subset_size=60)
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(made, real=False)
    assert frechet_distance(x, y) == pytest.approx(float(fid.compute()), rel=1e-5)
    assert kernel_distance(x, y).value == pytest.approx(float(kid.compute()[0]), rel=1e-5)
