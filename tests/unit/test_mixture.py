"""A mixture of Gaussians: its density, its fit, its draws."""

import math

import pytest
import torch
from torch import Tensor

from dlrun.evaluation.mixture import Mixture


def log_density(mixture: Mixture, codes: Tensor) -> Tensor:
    return mixture.joint(codes.double()).logsumexp(1)


def two_clouds(count: int = 600) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(count, 2, generator=generator) * torch.tensor([1.0, 0.2]) + 5
    second = torch.randn(count // 2, 2, generator=generator) * 0.5 - 5
    return torch.cat([first, second])


def test_it_finds_two_clouds() -> None:
    mixture = Mixture.fitted(two_clouds(), 2, seed=0)
    order = mixture.mean[:, 0].argsort()
    assert mixture.weight[order].tolist() == pytest.approx([1 / 3, 2 / 3], abs=1e-3)
    assert mixture.mean[order].flatten().tolist() == pytest.approx([-5, -5, 5, 5], abs=0.15)
    covariance = (mixture.factor @ mixture.factor.mT)[order]
    assert covariance[1].diagonal().tolist() == pytest.approx([1.0, 0.04], rel=0.2)


def test_its_density_is_torchs() -> None:
    codes = two_clouds()
    mixture = Mixture.fitted(codes, 3, seed=1)
    gaussians = torch.distributions.MultivariateNormal(mixture.mean, scale_tril=mixture.factor)
    chosen = torch.distributions.Categorical(mixture.weight)
    expected = torch.distributions.MixtureSameFamily(chosen, gaussians).log_prob(codes.double())
    torch.testing.assert_close(log_density(mixture, codes), expected)


def test_one_component_is_the_gaussian_of_the_codes() -> None:
    codes = two_clouds().double()
    mixture = Mixture.fitted(codes, 1, seed=0)
    torch.testing.assert_close(mixture.mean[0], codes.mean(0))
    covariance = torch.cov(codes.T, correction=0)
    torch.testing.assert_close(
        mixture.factor[0] @ mixture.factor[0].T, covariance, rtol=0.01, atol=0.05
    )


def test_more_components_fit_better_than_one() -> None:
    codes = two_clouds()
    one, two = (float(log_density(Mixture.fitted(codes, k, seed=0), codes).mean()) for k in (1, 2))
    assert two > one + 1


def test_draws_lie_where_the_codes_lie() -> None:
    torch.manual_seed(0)
    codes = two_clouds()
    drawn = Mixture.fitted(codes, 2, seed=0).sample(4000)
    assert drawn.dtype == torch.float32
    assert (drawn[:, 0] > 0).float().mean().item() == pytest.approx(2 / 3, abs=0.03)
    assert drawn.mean(0).tolist() == pytest.approx(codes.mean(0).tolist(), abs=0.3)


def test_a_seed_gives_one_fit_and_few_or_equal_codes_are_no_trouble() -> None:
    codes = two_clouds(40)
    first, again = (Mixture.fitted(codes, 5, seed=3) for _ in range(2))
    assert torch.equal(first.mean, again.mean)
    for few in (codes[:3], codes[:1].repeat(7, 1)):
        mixture = Mixture.fitted(few, 10, seed=0)
        assert mixture.sample(4).isfinite().all()
        assert math.isfinite(float(log_density(mixture, few).mean()))
