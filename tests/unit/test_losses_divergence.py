"""Divergences against torch's distributions, and which way round the notes' one has to be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal
from torch.distributions import kl_divergence as torchs_kl

from dlrun.losses.divergence import gaussian_kl

wide = settings(deadline=None, max_examples=40, derandomize=True)
seeds = st.integers(0, 999)


@wide
@given(seeds, st.sampled_from([torch.float32, torch.float64]))
def test_gaussian_kl_is_that_of_torchs_distributions(seed: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    mu, logvar = 3 * torch.randn(2, 4, 5, dtype=dtype)
    q = Normal(mu, (0.5 * logvar).exp())
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    torch.testing.assert_close(
        gaussian_kl(mu, logvar), torchs_kl(q, prior).sum(1), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gaussian_kl_of_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    mu, logvar = torch.tensor([[300.0, 0.5]], dtype=dtype), torch.tensor([[0.0, -3.0]], dtype=dtype)
    value = gaussian_kl(mu, logvar)
    assert value.dtype == torch.float32
    assert torch.equal(value, gaussian_kl(mu.float(), logvar.float()))
    assert value.isfinite().all()
    assert gaussian_kl(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)


def test_the_notes_prior_first_is_another_number_than_the_one_a_vae_minimises() -> None:
    """Their 4.8 has KL(p || q) with p the prior; their 4.8.1 is KL(q || p), posterior first."""
    mu, logvar = torch.tensor([[1.0, -2.0]]), torch.tensor([[math.log(0.25), 0.5]])
    posterior = Normal(mu, (0.5 * logvar).exp())
    prior = Normal(torch.zeros(1, 2), torch.ones(1, 2))
    posterior_first = torchs_kl(posterior, prior).sum(1)
    prior_first = torchs_kl(prior, posterior).sum(1)
    torch.testing.assert_close(gaussian_kl(mu, logvar), posterior_first)
    assert abs(prior_first - posterior_first).item() > 1

    # The bound: log p(x) = E_q log p(x|z) - KL(q||p) + KL(q||p(z|x)), on a world of two codes.
    prior_z, likelihood = torch.tensor([[0.7, 0.3]]), torch.tensor([[0.2, 0.9]])
    q = torch.tensor([[0.4, 0.6]])
    evidence = (prior_z * likelihood).sum(1)
    exact = prior_z * likelihood / evidence
    reconstruction = (q * likelihood.log()).sum(1)

    def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return (p * (p / q).log()).sum(1)

    right = reconstruction - kl(q, prior_z) + kl(q, exact)
    wrong = reconstruction - kl(prior_z, q) + kl(q, exact)
    torch.testing.assert_close(right, evidence.log())
    assert (wrong - evidence.log()).abs().item() > 1e-3
