"""Logits against labels: by hand, against torch's, and the lecture notes' formulas weighed."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from dlrun.errors import UserError
from dlrun.losses import classification as c

LOG_2 = math.log(2)
wide = settings(deadline=None, max_examples=40, derandomize=True)


def drawn(seed: int, batch: int, classes: int, scale: float = 5.0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return scale * torch.randn(batch, classes), torch.randint(classes, (batch,))


shapes = (st.integers(0, 999), st.integers(0, 6), st.integers(1, 7))


# --- softmax -------------------------------------------------------------------------------------


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    labels = torch.tensor([0, 1])
    assert c.cross_entropy(logits, labels).tolist() == pytest.approx([LOG_2, math.log(4)])
    # Smoothed by 0.5, the target is (3/4, 1/4), whichever is right.
    smoothed = c.cross_entropy(logits, labels, label_smoothing=0.5)[1].item()
    assert smoothed == pytest.approx(0.75 * math.log(4) + 0.25 * math.log(4 / 3))


# --- sigmoid -------------------------------------------------------------------------------------


@wide
@given(*shapes)
def test_binary_cross_entropy_is_torchs(seed: int, b: int, k: int) -> None:
    logits, labels = drawn(seed, b, k, 3.0)
    one_hot = F.one_hot(labels, k).float()
    expected = F.binary_cross_entropy(logits.sigmoid(), one_hot, reduction="none").sum(1)
    torch.testing.assert_close(
        c.binary_cross_entropy(logits, labels), expected, rtol=1e-4, atol=1e-4
    )


# --- focal ---------------------------------------------------------------------------------------


@wide
@given(*shapes, st.floats(0, 5))
def test_focal_is_its_formula_and_cross_entropy_where_gamma_is_0(
    seed: int, b: int, k: int, gamma: float
) -> None:
    logits, labels = drawn(seed, b, k, 2.0)
    p = logits.double().softmax(1)[torch.arange(b), labels]
    expected = -((1 - p) ** gamma) * p.log()
    torch.testing.assert_close(
        c.focal(logits, labels, gamma=gamma), expected.float(), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(c.focal(logits, labels, gamma=0.0), c.cross_entropy(logits, labels))
    weights = torch.rand(k)
    torch.testing.assert_close(
        c.focal(logits, labels, gamma=0.0, alpha=tuple(weights.tolist())),
        F.cross_entropy(logits, labels, weight=weights, reduction="none"),
    )


@wide
@given(*shapes, st.floats(0, 5), st.none() | st.floats(0, 1))
def test_binary_focal_is_torchvisions(
    seed: int, b: int, k: int, gamma: float, alpha: float | None
) -> None:
    logits, labels = drawn(seed, b, k)
    one_hot = F.one_hot(labels, k).float()
    expected = sigmoid_focal_loss(logits, one_hot, -1 if alpha is None else alpha, gamma).sum(1)
    ours = c.binary_focal(logits, labels, gamma=gamma, alpha=alpha)
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


def test_a_single_alpha_scales_and_one_for_each_class_balances() -> None:
    logits, labels = drawn(0, 6, 3)

    def loss(alpha: float | tuple[float, ...] | None) -> Tensor:
        return c.focal(logits, labels, gamma=2.0, alpha=alpha)

    plain = c.focal(logits, labels, gamma=2.0)
    torch.testing.assert_close(loss(None), plain)
    torch.testing.assert_close(loss(0.25), plain / 4)
    torch.testing.assert_close(loss((1.0, 0.5, 0.0)), plain * torch.tensor([1, 0.5, 0])[labels])
    for wrong in ((1.0, 2.0), (1.0,) * 4):
        with pytest.raises(UserError, match=rf"alpha: got {len(wrong)} weights.*each of 3 classes"):
            loss(wrong)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.5, 1.0, 2.0])
def test_focal_has_a_finite_gradient_where_the_class_is_sure(gamma: float) -> None:
    """The slope of a root is infinite at 0, and that is where 1 - p ends."""
    logits = torch.tensor([[1e4, 0.0], [-1e4, 0.0], [20.0, 0.0]], requires_grad=True)
    labels = torch.tensor([0, 0, 0])
    first, second = (
        torch.autograd.grad(loss(logits, labels, gamma=gamma).sum(), logits)[0]
        for loss in (c.focal, c.binary_focal)
    )
    assert first.isfinite().all() and second.isfinite().all()
    assert first[0].abs().max() < 1e-6 and first[1].tolist() == pytest.approx([-1, 1])


# --- margins -------------------------------------------------------------------------------------


def test_hinge_of_labels_is_one_against_the_rest() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -0.5], [-1.0, 1.0, -1.0]]), torch.tensor([1, 1])
    # Signs -1, 1, -1: short by 3, 1 and 0.5; in the second row by nothing.
    plain = c.hinge(logits, labels, squared=False)
    squared = c.hinge(logits, labels, squared=True)
    assert plain.tolist() == [4.5, 0]
    assert squared.tolist() == [10.25, 0]


@wide
@given(*shapes, st.sampled_from([1, 2]), st.floats(0.1, 5))
def test_multi_margin_is_torchs(seed: int, b: int, k: int, p: int, margin: float) -> None:
    logits, labels = drawn(seed, b, k)
    loss = c.multi_margin(logits, labels, p=1 if p == 1 else 2, margin=margin)
    if b:
        expected = F.multi_margin_loss(logits, labels, p=p, margin=margin, reduction="none")
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert loss.shape == (b,)
