"""Losses against values worked out by hand and against torch's own distributions."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.losses.adversarial import binary_cross_entropy, hinge, least_squares
from dlrun.losses.embedding import cosine
from dlrun.losses.reconstruction import Bernoulli, Gaussian, gaussian_kl

LOG_2 = math.log(2)
finite = st.floats(-50, 50, width=32)
wide = settings(deadline=None, max_examples=40, derandomize=True)


def gaussian(sigma: float) -> Gaussian:
    return Gaussian(Gaussian.Config(sigma=sigma, learned=False))


bernoulli = Bernoulli(Bernoulli.Config())
adversarial = [least_squares, binary_cross_entropy, hinge]


# --- classification ------------------------------------------------------------------------------


# --- reconstruction ------------------------------------------------------------------------------


def test_bernoulli_is_the_distributions_log_probability_summed_over_pixels() -> None:
    torch.manual_seed(0)
    output = 5 * torch.randn(3, 2, 4, 4)
    image = torch.bernoulli(torch.rand(3, 2, 4, 4))
    expected = -torch.distributions.Bernoulli(logits=output).log_prob(image).sum((1, 2, 3))
    torch.testing.assert_close(bernoulli(output, image), expected)


def test_bernoulli_by_hand() -> None:
    output = torch.tensor([[[[0.0, math.log(3)]]]])  # chances 1/2 and 3/4
    loss = bernoulli(output, torch.tensor([[[[1.0, 0.0]]]]))
    assert loss.tolist() == pytest.approx([LOG_2 + math.log(4)])
    grey = bernoulli(output, torch.tensor([[[[0.5, 0.5]]]]))
    assert grey.tolist() == pytest.approx([LOG_2 + (math.log(4) + math.log(4 / 3)) / 2])
    assert bernoulli.mean(output).flatten().tolist() == pytest.approx([0.5, 0.75])


def test_bernoulli_of_extreme_logits_is_finite_and_so_is_its_gradient() -> None:
    output = torch.tensor([1e5, -1e5, 1e5, -1e5]).view(1, 1, 2, 2).requires_grad_()
    loss = bernoulli(output, torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 1, 2, 2))
    assert loss.item() == pytest.approx(2e5)
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    assert gradient.flatten().tolist() == [0, -1, 1, 0]


@wide
@given(st.floats(0.01, 10), st.integers(0, 1000))
def test_gaussian_is_the_distributions_log_probability(sigma: float, seed: int) -> None:
    torch.manual_seed(seed)
    output, image = torch.randn(3, 1, 4, 5), torch.rand(3, 1, 4, 5)
    normal = torch.distributions.Normal(output.double(), sigma)
    expected = -normal.log_prob(image.double()).sum((1, 2, 3))
    torch.testing.assert_close(
        gaussian(sigma)(output, image), expected.float(), rtol=1e-4, atol=1e-4
    )


def test_gaussian_picture_is_clamped() -> None:
    output = torch.tensor([-1.0, 0.25, 2.0]).view(1, 1, 1, 3)
    assert gaussian(1.0).mean(output).flatten().tolist() == [0, 0.25, 1]


# --- similarity ----------------------------------------------------------------------------------


def test_cosine_by_hand() -> None:
    p = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, 2.0], [0.0, 5.0]])
    z = torch.tensor([[6.0, 8.0], [-7.0, 0.0], [-1.0, 1.0], [3.0, 4.0]])
    assert cosine(p, z).tolist() == pytest.approx([0, 4, 2, 2 - 2 * 0.8], abs=1e-6)


@wide
@given(st.integers(0, 1000), st.floats(1e-2, 1e3), st.floats(1e-2, 1e3))
def test_cosine_is_the_squared_distance_of_unit_vectors(seed: int, a: float, b: float) -> None:
    """Equation 2 of BYOL; the lengths, which the notes' missing brackets let in, are no matter."""
    torch.manual_seed(seed)
    p, z = torch.randn(4, 6), torch.randn(4, 6)
    unit_p = p / p.norm(dim=1, keepdim=True)
    unit_z = z / z.norm(dim=1, keepdim=True)
    expected = (unit_p - unit_z).square().sum(1)
    torch.testing.assert_close(cosine(a * p, b * z), expected, rtol=1e-4, atol=1e-5)


# --- adversarial ---------------------------------------------------------------------------------

SCORES = torch.tensor([[[[2.0, -1.0], [0.5, 0.0]]]])


@pytest.mark.parametrize(
    ("loss", "real", "for_generator", "expected"),
    [
        (least_squares, True, False, (1 + 4 + 0.25 + 1) / 4),
        (least_squares, False, False, (4 + 1 + 0.25 + 0) / 4),
        (least_squares, True, True, (1 + 4 + 0.25 + 1) / 4),
        (hinge, True, False, (0 + 2 + 0.5 + 1) / 4),
        (hinge, False, False, (3 + 0 + 1.5 + 1) / 4),
        (hinge, True, True, -1.5 / 4),
    ],
)
def test_adversarial_by_hand(loss: Any, real: bool, for_generator: bool, expected: float) -> None:
    value = loss(SCORES, real=real, for_generator=for_generator)
    assert value.ndim == 0
    assert value.item() == pytest.approx(expected)


@pytest.mark.parametrize("for_generator", [False, True])
def test_binary_cross_entropy_does_not_saturate(for_generator: bool) -> None:
    loss = binary_cross_entropy
    chance = torch.sigmoid(SCORES)
    assert torch.allclose(loss(SCORES, True, for_generator), -chance.log().mean())
    assert torch.allclose(loss(SCORES, False), -(1 - chance).log().mean())
    # A generator whose image is surely seen through still has a gradient.
    score = torch.tensor([-100.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(score, real=True, for_generator=True), score)
    assert gradient.item() == pytest.approx(-1)


@pytest.mark.parametrize("loss", adversarial)
def test_the_loss_of_guessing_is_the_least_of_a_constant_score(loss: Any) -> None:
    scores = torch.linspace(-1, 1, 201)
    values = [float(loss(score, real=True) + loss(score, real=False)) / 2 for score in scores]
    assert min(values) == pytest.approx(loss.guessing, abs=1e-6)


@pytest.mark.parametrize("loss", adversarial)
@pytest.mark.parametrize("real", [True, False])
def test_adversarial_gradients_are_finite_at_extreme_scores(loss: Any, real: bool) -> None:
    scores = torch.tensor([1e6, -1e6, 0.0], requires_grad=True)
    value = loss(scores, real=real)
    value.backward()
    assert value.isfinite()
    assert scores.grad is not None and scores.grad.isfinite().all()


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_out_as_float32_computed_in_float32(dtype: torch.dtype) -> None:
    """Each loss of a half tensor is the loss of the same numbers in float32, bit for bit."""
    torch.manual_seed(0)
    image = torch.rand(5, 1, 28, 28)
    output = (10 * torch.randn(5, 1, 28, 28)).to(dtype)
    code = torch.tensor([[300.0, 0.5]], dtype=dtype), torch.tensor([[0.0, -3.0]], dtype=dtype)
    pairs = [
        (gaussian_kl(*code), gaussian_kl(*(x.float() for x in code))),
        (bernoulli(output, image), bernoulli(output.float(), image)),
        (gaussian(0.1)(output, image), gaussian(0.1)(output.float(), image)),
        (bernoulli.mean(output), bernoulli.mean(output.float())),
        (gaussian(1.0).mean(output), gaussian(1.0).mean(output.float())),
        *((loss(output, real=True), loss(output.float(), real=True)) for loss in adversarial),
        *((loss(output, real=False), loss(output.float(), real=False)) for loss in adversarial),
    ]
    for half, full in pairs:
        assert half.dtype == torch.float32
        assert half.isfinite().all()
        assert torch.equal(half, full)
