"""Weights of images against the authors' algorithm spelt out, and against hand computations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.methods.resampling import (
    balanced_weights,
    bin_rarity,
    effective_sample_size,
    latent_weights,
    uniform_weights,
)


def literal(mu: Tensor, bins: int, alpha: float) -> np.ndarray:
    """The authors' loop over units, on shares of standardised means."""
    weights = np.zeros(len(mu))
    for unit in mu.double().numpy().T:
        if unit.var() <= 1e-2:
            continue
        unit = (unit - unit.mean()) / unit.std()
        counts, edges = np.histogram(unit, bins=bins)
        density = counts / counts.sum()
        edges[0], edges[-1] = -np.inf, np.inf
        place = np.digitize(unit, edges)
        density = density + alpha
        density /= density.sum()
        p = 1 / density[place - 1]
        p /= p.sum()
        weights = np.maximum(weights, p)
    return weights / weights.sum()


@pytest.mark.parametrize("alpha", [0.1, 0.01, 0.001])
@pytest.mark.parametrize("bins", [1, 2, 10])
def test_it_is_the_authors_algorithm(alpha: float, bins: int) -> None:
    torch.manual_seed(0)
    mu = torch.randn(500, 7) * torch.tensor([1, 3, 0.05, 0.5, 2, 1, 0.0]) + 4
    torch.testing.assert_close(
        latent_weights(mu, bins, alpha), torch.from_numpy(literal(mu, bins, alpha)),
        rtol=1e-12, atol=0,
    )  # fmt: skip


def test_the_largest_ratio_is_bounded_by_alpha_whatever_the_units_scale() -> None:
    torch.manual_seed(0)
    mu = torch.randn(2000, 4)
    ratio = {}
    for alpha in (0.1, 0.01, 0.001):
        weights = latent_weights(mu, 10, alpha)
        assert torch.allclose(weights, latent_weights(1000 * mu + 5, 10, alpha))
        ratio[alpha] = float(weights.max() / weights.min())
        assert ratio[alpha] <= (1 + alpha) / alpha
    assert ratio[0.1] < ratio[0.01] < ratio[0.001]


def test_units_that_carry_nothing_are_passed_over() -> None:
    torch.manual_seed(0)
    mu = torch.randn(300, 2)
    noise = 0.05 * torch.randn(300, 5)  # variance 0.0025
    assert torch.equal(latent_weights(torch.cat([mu, noise], 1), 10, 0.01),
                       latent_weights(mu, 10, 0.01))  # fmt: skip
    alone = latent_weights(noise, 10, 0.01)
    assert torch.equal(alone, uniform_weights(noise))
    for combine in ("product", "topk", "mean"):
        assert torch.equal(latent_weights(noise, 10, 0.01, combine), alone)  # type: ignore[arg-type]


def test_product_topk_and_mean() -> None:
    torch.manual_seed(0)
    mu = torch.randn(50, 3)
    rarity = bin_rarity(mu, 5, 0.05)
    torch.testing.assert_close(rarity.sum(0), torch.ones(3, dtype=torch.float64))

    def of(values: Tensor) -> Tensor:
        return values / values.sum()

    torch.testing.assert_close(latent_weights(mu, 5, 0.05, "product"), of(rarity.prod(1)))
    torch.testing.assert_close(latent_weights(mu, 5, 0.05, "mean"), of(rarity.mean(1)))
    two = of(rarity.sort(1).values[:, 1:].prod(1))
    torch.testing.assert_close(latent_weights(mu, 5, 0.05, "topk", 2), two)
    for top, same in ((1, "max"), (3, "product"), (9, "product")):
        torch.testing.assert_close(
            latent_weights(mu, 5, 0.05, "topk", top),
            latent_weights(mu, 5, 0.05, same),  # type: ignore[arg-type]
        )


def test_a_product_over_hundreds_of_units_neither_overflows_nor_vanishes() -> None:
    torch.manual_seed(0)
    weights = latent_weights(torch.randn(1000, 400), 10, 1e-3, "product")
    assert weights.isfinite().all()
    assert math.isclose(float(weights.sum()), 1)


def test_an_outlier_sets_the_bins_unless_it_is_clipped() -> None:
    torch.manual_seed(0)
    mu = torch.randn(1000, 1)
    mu[0] = 1e4
    wide = bin_rarity(mu, 10, 0.01)[:, 0]
    assert len(wide.unique()) == 2  # all others share a bin
    clipped = bin_rarity(mu, 10, 0.01, clip=0.01)[:, 0]
    assert len(clipped.unique()) > 5


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 40), units=st.integers(1, 5), bins=st.integers(1, 12),
    alpha=st.floats(1e-6, 10), combine=st.sampled_from(["max", "product", "topk", "mean"]),
    clip=st.floats(0, 0.49), seed=st.integers(0, 99), scale=st.sampled_from([0.0, 1e-3, 1.0, 1e4]),
)  # fmt: skip
def test_they_are_always_chances(
    n: int, units: int, bins: int, alpha: float, combine: str, clip: float, seed: int, scale: float
) -> None:
    mu = scale * torch.randn(n, units, generator=torch.Generator().manual_seed(seed))
    weights = latent_weights(mu, bins, alpha, combine, 2, clip)  # type: ignore[arg-type]
    assert weights.shape == (n,) and weights.dtype == torch.float64
    assert (weights > 0).all()
    assert math.isclose(float(weights.sum()), 1)
    size = float(effective_sample_size(weights))
    assert 1 - 1e-9 <= size <= n + 1e-9


def test_each_combination_is_drawn_equally_often() -> None:
    gender = torch.tensor([0, 0, 0, 1, 1, -1])
    race = torch.tensor([0, 0, 1, 1, 1, 0])
    weights = balanced_weights([gender, race])
    expected = torch.tensor([1 / 8, 1 / 8, 1 / 4, 1 / 8, 1 / 8, 1 / 4], dtype=torch.float64)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(
        balanced_weights([gender]), torch.tensor([1 / 9] * 3 + [1 / 6] * 2 + [1 / 3]).double()
    )


def test_effective_sample_size() -> None:
    assert float(effective_sample_size(torch.full((8,), 1 / 8))) == 8
    assert float(effective_sample_size(torch.tensor([1.0, 0.0, 0.0]))) == 1
    assert float(effective_sample_size(torch.tensor([0.5, 0.25, 0.25]))) == pytest.approx(8 / 3)
