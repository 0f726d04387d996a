"""Closed forms against torch's own distributions and a decomposition of another kind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.evaluation.baselines import (
    independent_negative_log_likelihood,
    pca_squared_error,
    ppca_negative_log_density,
)


def correlated(count: int, dim: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator)
    return torch.randn(count, dim, generator=generator) @ mixing + torch.arange(dim)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(2, 8), st.integers(0, 100), st.data())
def test_pca_is_the_truncated_decomposition(dim: int, seed: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, dim))
    train, test = correlated(60, dim, seed), correlated(40, dim, seed + 1)
    mean = train.double().mean(0)
    vectors = torch.linalg.svd(train.double() - mean)[2][:size]
    centred = test.double() - mean
    given_back = centred @ vectors.T @ vectors
    expected = float((centred - given_back).square().sum(1).mean())
    assert pca_squared_error(train, test, size) == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_ppca_is_a_gaussian_of_its_covariance(size: int) -> None:
    train, test = correlated(200, 6, 0), correlated(50, 6, 1)
    mean = train.double().mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(train.double().T, correction=0))
    values, vectors = values.flip(0), vectors.flip(1)
    noise = values[size:].mean()
    w = vectors[:, :size] * (values[:size] - noise).sqrt()
    gaussian = torch.distributions.MultivariateNormal(
        mean, w @ w.T + noise * torch.eye(6, dtype=torch.float64)
    )
    expected = -float(gaussian.log_prob(test.double()).mean())
    assert ppca_negative_log_density(train, test, size) == pytest.approx(expected, rel=1e-9)


def test_more_components_never_fit_the_train_images_worse() -> None:
    train = correlated(100, 6, 2)
    errors = [pca_squared_error(train, train, size) for size in range(1, 7)]
    densities = [ppca_negative_log_density(train, train, size) for size in range(1, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(0, abs=1e-6)
    assert densities == sorted(densities, reverse=True)


def test_independent_pixels_by_hand() -> None:
    train = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    chances = torch.tensor([3.5 / 4, 1.5 / 4])
    expected = -(chances[0].log() + (1 - chances[1]).log()).item()
    found = independent_negative_log_likelihood(train, torch.tensor([[1.0, 0.0]]))
    assert found == pytest.approx(expected, rel=1e-6)
    never = independent_negative_log_likelihood(train, torch.tensor([[0.0, 0.0]]))
    assert never < float("inf")
