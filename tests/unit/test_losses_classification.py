"""Logits against labels: by hand, against torch's, and the lecture notes' formulas weighed."""

import math
from typing import Any

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
    smoothed = c.cross_entropy(logits, labels, 0.5)[1].item()
    assert smoothed == pytest.approx(0.75 * math.log(4) + 0.25 * math.log(4 / 3))


@wide
@given(*shapes)
def test_softmax_loss_is_cross_entropy_without_smoothing(seed: int, b: int, k: int) -> None:
    logits, labels = drawn(seed, b, k)
    torch.testing.assert_close(c.softmax_loss(logits, labels), c.cross_entropy(logits, labels))
    torch.testing.assert_close(
        c.softmax_loss(logits + 1e4, labels),
        F.cross_entropy((logits + 1e4).double(), labels, reduction="none").float(),
    )


def test_the_notes_softmax_loss_knows_no_label_and_is_least_for_equal_scores() -> None:
    """Their 4.4 sums over all i: it would teach the network to tell nothing apart."""
    sure = torch.tensor([[5.0, 0.0, 0.0]])
    equal = torch.zeros(1, 3)

    def as_written(scores: Tensor) -> Tensor:
        return -(scores.exp() / scores.exp().sum(1, keepdim=True)).log().sum(1)

    assert as_written(equal) < as_written(sure)
    right = torch.tensor([0])
    assert c.softmax_loss(sure, right) < c.softmax_loss(equal, right)


def test_categorical_cross_entropy_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    target = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    loss = c.categorical_cross_entropy(probabilities, target)
    assert loss.tolist() == pytest.approx([math.log(4), 0, 6 * math.log(10)])


@wide
@given(*shapes)
def test_categorical_cross_entropy_of_a_softmax_is_cross_entropy(seed: int, b: int, k: int) -> None:
    """With one-hot and with soft targets: only `from_logits` differs (the notes' 4.3)."""
    logits, labels = drawn(seed, b, k, 2.0)
    one_hot = F.one_hot(labels, k)
    torch.testing.assert_close(
        c.categorical_cross_entropy(logits.softmax(1), one_hot), c.cross_entropy(logits, labels),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    soft = torch.randn(b, k).softmax(1)
    torch.testing.assert_close(
        c.categorical_cross_entropy(logits.softmax(1), soft),
        F.cross_entropy(logits, soft, reduction="none"), rtol=1e-4, atol=1e-5,
    )  # fmt: skip


# --- sigmoid -------------------------------------------------------------------------------------


def test_binary_cross_entropy_by_hand() -> None:
    p, y = torch.tensor([0.5, 0.75, 0.75, 0.5]), torch.tensor([1.0, 1.0, 0.0, 0.5])
    expected = [LOG_2, math.log(4 / 3), math.log(4), LOG_2]
    assert c.binary_cross_entropy(p, y).tolist() == pytest.approx(expected)
    logits = p.logit()
    assert c.binary_cross_entropy_with_logits(logits, y).tolist() == pytest.approx(expected)


@wide
@given(st.integers(0, 999), st.lists(st.integers(0, 4), max_size=3))
def test_binary_cross_entropy_is_torchs(seed: int, shape: list[int]) -> None:
    torch.manual_seed(seed)
    logits, y = 3 * torch.randn(shape), torch.rand(shape)
    p = logits.sigmoid()
    expected = F.binary_cross_entropy(p, y, reduction="none")
    torch.testing.assert_close(c.binary_cross_entropy(p, y), expected)
    torch.testing.assert_close(
        c.binary_cross_entropy_with_logits(logits, y), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("loss", [c.binary_cross_entropy, c.categorical_cross_entropy])
def test_probabilities_of_0_and_1_cost_28_nats_at_most_and_have_finite_gradients(loss: Any) -> None:
    p = torch.tensor([[0.0, 1.0]], requires_grad=True)
    value = loss(p, torch.tensor([[1.0, 0.0]]))
    assert value.flatten()[0].item() == pytest.approx(12 * math.log(10))
    (gradient,) = torch.autograd.grad(value.sum(), p)
    assert gradient.isfinite().all()


def test_one_against_the_rest_sums_over_classes() -> None:
    loss = c.BinaryCrossEntropy(c.BinaryCrossEntropy.Config())
    logits = torch.tensor([[0.0, math.log(3), 0.0]])
    # Chances 1/2, 3/4 and 1/2; the second is the label, then the first.
    assert loss(logits, torch.tensor([1])).item() == pytest.approx(2 * LOG_2 + math.log(4 / 3))
    assert loss(logits, torch.tensor([0])).item() == pytest.approx(2 * LOG_2 + math.log(4))


# --- focal ---------------------------------------------------------------------------------------


def test_focal_by_hand() -> None:
    logits, labels = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]]), torch.tensor([1, 0])
    loss = c.focal(logits, labels, 2.0)
    assert loss.tolist() == pytest.approx([LOG_2 / 4, math.log(4 / 3) / 16])
    weighted = c.focal(logits, labels, 2.0, (0.5, 3.0))
    assert weighted.tolist() == pytest.approx([3 * LOG_2 / 4, math.log(4 / 3) / 32])


@wide
@given(*shapes, st.floats(0, 5))
def test_focal_is_its_formula_and_cross_entropy_where_gamma_is_0(
    seed: int, b: int, k: int, gamma: float
) -> None:
    logits, labels = drawn(seed, b, k, 2.0)
    p = logits.double().softmax(1)[torch.arange(b), labels]
    expected = -((1 - p) ** gamma) * p.log()
    torch.testing.assert_close(
        c.focal(logits, labels, gamma), expected.float(), rtol=1e-3, atol=1e-5
    )
    torch.testing.assert_close(c.focal(logits, labels, 0.0), c.cross_entropy(logits, labels))
    weights = torch.rand(k)
    torch.testing.assert_close(
        c.focal(logits, labels, 0.0, tuple(weights.tolist())),
        F.cross_entropy(logits, labels, weight=weights, reduction="none"),
    )


@wide
@given(st.integers(0, 999), st.floats(0, 5), st.none() | st.floats(0, 1))
def test_binary_focal_is_torchvisions(seed: int, gamma: float, alpha: float | None) -> None:
    torch.manual_seed(seed)
    logits, y = 5 * torch.randn(3, 4), torch.bernoulli(torch.rand(3, 4))
    expected = sigmoid_focal_loss(logits, y, -1 if alpha is None else alpha, gamma)
    torch.testing.assert_close(
        c.binary_focal(logits, y, gamma, alpha), expected, rtol=1e-3, atol=1e-5
    )


def test_two_classes_of_focal_are_binary_focal_of_the_difference() -> None:
    logits, labels = drawn(0, 8, 2)
    torch.testing.assert_close(
        c.focal(logits, labels, 2.0, (0.75, 0.25)),
        c.binary_focal(logits[:, 1] - logits[:, 0], labels, 2.0, 0.25),
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip


def test_the_notes_focal_loss_has_no_term_for_images_without_the_class() -> None:
    """Their 4.11 with a binary label: a false alarm is free, so calling all positive is best."""
    logit, label = torch.tensor([10.0]), torch.tensor([0.0])
    p = logit.sigmoid()
    as_written = -0.25 * (1 - p) ** 2 * label * p.log()
    assert as_written.item() == 0
    assert c.binary_focal(logit, label, 2.0, 0.25).item() == pytest.approx(7.5, rel=1e-3)
    # Read with the one-hot label of a softmax, the sum is what `focal` has.
    logits, labels = drawn(0, 5, 4, 1.0)
    softmax = logits.softmax(1)
    one_hot = -(0.25 * (1 - softmax) ** 2 * F.one_hot(labels, 4) * softmax.log()).sum(1)
    torch.testing.assert_close(c.focal(logits, labels, 2.0, (0.25,) * 4), one_hot)


def test_a_single_alpha_scales_and_one_for_each_class_balances() -> None:
    logits, labels = drawn(0, 6, 3)

    def loss(alpha: float | tuple[float, ...] | None) -> Tensor:
        value: Tensor = c.Focal(c.Focal.Config(gamma=2.0, alpha=alpha))(logits, labels)
        return value

    plain = c.focal(logits, labels, 2.0)
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
    first = torch.autograd.grad(c.focal(logits, labels, gamma).sum(), logits)[0]
    second = torch.autograd.grad(c.binary_focal(logits, F.one_hot(labels, 2), gamma).sum(), logits)[
        0
    ]
    assert first.isfinite().all() and second.isfinite().all()
    assert first[0].abs().max() < 1e-6 and first[1].tolist() == pytest.approx([-1, 1])


# --- margins -------------------------------------------------------------------------------------


def test_hinge_by_hand() -> None:
    scores, signs = torch.tensor([2.0, 0.5, -3.0, 0.0]), torch.tensor([1, 1, 1, -1])
    assert c.hinge(scores, signs).tolist() == [0, 0.5, 4, 1]


def test_the_notes_hinge_needs_labels_of_minus_one_and_one() -> None:
    """With 0 for the other class it costs 1 whatever the score, so nothing is learnt of it."""
    scores = torch.tensor([-5.0, 0.0, 5.0], requires_grad=True)
    zeros = c.hinge(scores, torch.zeros(3))
    assert zeros.tolist() == [1, 1, 1]
    assert torch.autograd.grad(zeros.sum(), scores)[0].tolist() == [0, 0, 0]
    signs = c.hinge(scores, -torch.ones(3))
    assert signs.tolist() == [0, 1, 6]
    assert torch.autograd.grad(signs.sum(), scores)[0].tolist() == [0, 1, 1]


def test_hinge_of_labels_is_one_against_the_rest() -> None:
    logits, labels = torch.tensor([[2.0, 0.0, -0.5], [-1.0, 1.0, -1.0]]), torch.tensor([1, 1])
    # Signs -1, 1, -1: short by 3, 1 and 0.5; in the second row by nothing.
    plain = c.Hinge(c.Hinge.Config(squared=False))(logits, labels)
    squared = c.Hinge(c.Hinge.Config(squared=True))(logits, labels)
    assert plain.tolist() == [4.5, 0]
    assert squared.tolist() == [10.25, 0]


def test_multi_margin_by_hand() -> None:
    logits, label = torch.tensor([[1.0, 3.0, 2.5, -4.0]]), torch.tensor([1])
    # Short by max(0, 1 - 3 + (1, 2.5, -4)) = 0, 0.5, 0 of the others; divided by all 4.
    assert c.multi_margin(logits, label).item() == 0.125
    assert c.multi_margin(logits, label, p=2).item() == 0.0625
    assert c.multi_margin(logits, label, margin=3.0).item() == (1 + 2.5) / 4


@wide
@given(*shapes, st.sampled_from([1, 2]), st.floats(0.1, 5))
def test_multi_margin_is_torchs(seed: int, b: int, k: int, p: int, margin: float) -> None:
    logits, labels = drawn(seed, b, k)
    loss = c.MultiMargin(c.MultiMargin.Config(p=1 if p == 1 else 2, margin=margin))(logits, labels)
    if b:
        expected = F.multi_margin_loss(logits, labels, p=p, margin=margin, reduction="none")
        torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    assert loss.shape == (b,)


def test_the_notes_multi_margin_without_brackets_is_right_only_with_them() -> None:
    """`max 0, a^p` could raise a alone: then a class far below the margin costs its square."""
    logits, label = torch.tensor([[3.0, -4.0]]), torch.tensor([0])
    short = 1 - 3 - 4.0
    inside = max(0.0, short**2) / 2
    torchs = F.multi_margin_loss(logits, label, p=2)
    assert inside == 18
    assert c.multi_margin(logits, label, p=2).item() == torchs.item() == 0
