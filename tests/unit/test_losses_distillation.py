"""A student against its teacher: by hand, against torch's, and the identities of the papers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import loss_of
from torch import Tensor
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.losses import distillation as d

LOG_2, LOG_3 = math.log(2), math.log(3)
wide = settings(deadline=None, max_examples=30, derandomize=True)
seeds, temperatures = st.integers(0, 999), st.floats(0.5, 8)


def drawn(seed: int, batch: int = 4, classes: int = 5, scale: float = 3.0) -> tuple[Tensor, ...]:
    """Logits of a student and of a teacher, and labels."""
    torch.manual_seed(seed)
    student, teacher = scale * torch.randn(2, batch, classes)
    return student, teacher, torch.randint(classes, (batch,))


NONE = torch.zeros(0, dtype=torch.int64)
"""Labels, where the loss does not use them."""


cosine, hint, attention = (partial(f, labels=NONE) for f in (d.kd_cosine, d.hint, d.attention))


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return d.kd(student, teacher, NONE, temperature=temperature, standardize=False)


def soft_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return d.kd_cross_entropy(student, teacher, NONE, temperature=temperature)


def decoupled(
    student: Tensor, teacher: Tensor, labels: Tensor, t: float, alpha: float, beta: float
) -> Tensor:
    return d.dkd(student, teacher, labels, temperature=t, alpha=alpha, beta=beta)


def attention_map(feature: Tensor) -> Tensor:
    """Mean square over channels, (B, C, H, W) to (B, H W), of unit length."""
    return F.normalize(feature.square().mean(1).flatten(1), dim=1)


# --- soft targets --------------------------------------------------------------------------------


@wide
@given(seeds, st.integers(1, 5), st.integers(1, 7), temperatures)
def test_soft_targets_are_torchs_with_batchmean(seed: int, b: int, k: int, t: float) -> None:
    """torch's 'mean' divides by the number of classes as well."""
    student, teacher, _ = drawn(seed, b, k)
    ours = soft_targets(student, teacher, t)
    soft, log_student = (teacher / t).softmax(1), (student / t).log_softmax(1)
    theirs = F.kl_div(log_student, soft, reduction="batchmean") * t**2
    torch.testing.assert_close(ours.mean(), theirs, rtol=1e-4, atol=1e-4)
    per_element = F.kl_div(log_student, soft, reduction="none").mean() * t**2
    torch.testing.assert_close(ours.mean(), per_element * k, rtol=1e-4, atol=1e-4)


@wide
@given(seeds, temperatures)
def test_soft_cross_entropy_has_the_divergences_gradient_and_the_entropy_besides(
    seed: int, t: float
) -> None:
    student, teacher, _ = drawn(seed)
    student.requires_grad_()
    kl = soft_targets(student, teacher, t)
    ce = soft_cross_entropy(student, teacher, t)
    soft = (teacher / t).softmax(1)
    entropy = torch.distributions.Categorical(soft).entropy()
    torch.testing.assert_close(ce, kl + t**2 * entropy, rtol=1e-4, atol=1e-4)
    theirs = F.cross_entropy(student / t, soft, reduction="none") * t**2
    torch.testing.assert_close(ce, theirs, rtol=1e-4, atol=1e-4)
    of_kl, of_ce = (torch.autograd.grad(x.sum(), student, retain_graph=True)[0] for x in (kl, ce))
    torch.testing.assert_close(of_kl, of_ce, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(of_kl, t * ((student / t).softmax(1) - soft), rtol=1e-4, atol=1e-5)


# --- standardised logits -------------------------------------------------------------------------


def test_standardize_by_hand() -> None:
    rows = d.standardized(torch.tensor([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0 + 1e-3], [-1e4, 1e4]]))
    expected = torch.tensor([[-1.0, 1.0], [0.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]])
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)


@wide
@given(seeds, st.integers(1, 4), st.integers(2, 7), st.floats(0.1, 100), st.floats(-100, 100))
def test_standardize_is_the_z_score_whatever_scale_and_shift(
    seed: int, b: int, k: int, scale: float, shift: float
) -> None:
    logits = drawn(seed, b, k)[0].double()
    z = (logits - logits.mean(1, keepdim=True)) / logits.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(
        d.standardized(scale * logits + shift), z.float(), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("value", [0.0, 0.1, -1e4, 12345.678])
@pytest.mark.parametrize("classes", [1, 3, 1000])
def test_logits_that_are_all_alike_become_zeros_with_a_finite_gradient(
    value: float, classes: int
) -> None:
    logits = torch.full((2, classes), value, requires_grad=True)
    rows = d.standardized(logits)
    assert rows.tolist() == [[0] * classes] * 2
    assert torch.autograd.grad(rows[:, 0].sum(), logits)[0].isfinite().all()


def test_standardised_soft_targets_ask_for_the_order_and_not_for_the_scale() -> None:
    student, teacher, labels = drawn(0)
    weights = {"ce_weight": 0.1, "kd_weight": 9.0, "temperature": 2.0}
    bare = loss_of("kd", **weights, standardize=False)
    standardized = loss_of("kd", **weights, standardize=True)
    scaled = 0.1 * teacher + 3
    assert (bare(scaled, teacher, labels) > 0.1).all()
    torch.testing.assert_close(
        standardized(scaled, teacher, labels), torch.zeros(4), rtol=0, atol=1e-5
    )
    z = [(x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True, correction=0)
         for x in (student, teacher)]  # fmt: skip
    torch.testing.assert_close(
        standardized(student, teacher, labels), soft_targets(z[0], z[1], 2.0)
    )


# --- decoupled -----------------------------------------------------------------------------------


def test_decoupled_by_hand() -> None:
    teacher = torch.tensor([[0.5, 0.375, 0.125]]).log()
    student = torch.zeros(1, 3)
    label = torch.tensor([0])
    target = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))
    others = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    for alpha, beta in ((1.0, 0.0), (0.0, 1.0), (1.0, 8.0)):
        loss = decoupled(student, teacher, label, 1.0, alpha, beta)
        assert loss.item() == pytest.approx(alpha * target + beta * others, abs=1e-6)


@wide
@given(seeds, st.integers(0, 5), st.integers(2, 7), temperatures)
def test_soft_targets_are_the_target_class_and_the_others_by_what_the_teacher_leaves(
    seed: int, b: int, k: int, t: float
) -> None:
    """KD = TCKD + (1 - p_t) NCKD, p_t the teacher's (equation 6)."""
    student, teacher, labels = drawn(seed, b, k)
    target = decoupled(student, teacher, labels, t, 1.0, 0.0)
    others = decoupled(student, teacher, labels, t, 0.0, 1.0)
    left = 1 - (teacher / t).softmax(1)[torch.arange(b), labels]
    torch.testing.assert_close(
        target + left * others, soft_targets(student, teacher, t), rtol=1e-3, atol=1e-4
    )
    torch.testing.assert_close(
        decoupled(student, teacher, labels, t, 2.0, 8.0), 2 * target + 8 * others,
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip


def test_decoupled_of_two_classes_has_no_others_to_tell_apart_and_of_one_no_sense() -> None:
    student, teacher, labels = drawn(0, classes=2)
    assert decoupled(student, teacher, labels, 4.0, 0.0, 1.0).tolist() == [0] * 4
    with pytest.raises(UserError, match="got 1 class, expected two or more"):
        decoupled(student[:, :1], teacher[:, :1], 0 * labels, 4.0, 1.0, 1.0)


# --- hidden representations ----------------------------------------------------------------------


def test_cosine_by_hand() -> None:
    student = torch.tensor([[1.0, 0.0], [1.0, 2.0], [1.0, 0.0]])
    teacher = torch.tensor([[3.0, 4.0], [2.0, 4.0], [-2.0, 0.0]])
    assert cosine(student, teacher).tolist() == pytest.approx([0.4, 0, 2], abs=1e-6)
    target = F.cosine_embedding_loss(student, teacher, torch.ones(3), reduction="none")
    torch.testing.assert_close(cosine(student, teacher), target)
    # Four channels averaged by twos are (1, 0).
    wider = torch.tensor([[2.0, 0.0, 1.0, -1.0]])
    assert cosine(student[:1], wider).item() == pytest.approx(0, abs=1e-6)
    assert cosine(wider, teacher[:1]).item() == pytest.approx(0.4, abs=1e-6)


def test_cosine_pools_channels_with_channels_and_pixels_with_pixels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 6, 8, 8)
    pooled = teacher.reshape(2, 3, 2, 4, 2, 4, 2).mean((2, 4, 6))
    expected = 1 - F.cosine_similarity(student.flatten(1), pooled.flatten(1))
    torch.testing.assert_close(cosine(student, teacher), expected)
    torch.testing.assert_close(cosine(teacher, student), expected)
    # One has more channels, the other is larger.
    crossed = torch.randn(2, 2, 8, 12)
    expected = 1 - F.cosine_similarity(
        F.adaptive_avg_pool2d(crossed, (8, 8)).flatten(1),
        teacher.reshape(2, 2, 3, 8, 8).mean(2).flatten(1),
    )
    torch.testing.assert_close(cosine(crossed, teacher), expected)


def test_hint_by_hand_and_as_torchs() -> None:
    student = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    teacher = torch.tensor([[1.0, 4.0], [0.0, 1.0]])
    assert hint(student, teacher).tolist() == [2, 0.5]
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5, 6)
    torch.testing.assert_close(hint(student, teacher).mean(), F.mse_loss(student, teacher))


def test_attention_by_hand() -> None:
    student = torch.tensor([[[[1.0, 0.0]]]])
    teacher = torch.tensor([[[[0.0, -3.0]]]])
    assert attention(student, teacher).item() == 1  # (1, 0) against (0, 1)
    assert attention(student, -5 * student).item() == 0
    # Squared activations (0, 0, 36, 0) are averaged by twos to (0, 18).
    larger = torch.tensor([[[[0.0, 0.0, 6.0, 0.0]]]])
    assert attention(student, larger).item() == 1
    assert attention(larger, teacher).item() == pytest.approx(0)


def test_attention_is_the_difference_of_maps_of_any_number_of_channels() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 7, 4, 5)
    expected = (attention_map(student) - attention_map(teacher)).square().mean(1)
    torch.testing.assert_close(attention(student, teacher), expected)
    assert (attention_map(student).norm(dim=1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("loss", "student", "teacher"),
    [
        (cosine, (2, 3), (2, 3, 4, 4)),
        (cosine, (2, 3, 4), (2, 3, 4)),
        (hint, (2, 3), (2, 4)),
        (hint, (2, 3, 4, 4), (2, 3, 2, 2)),
        (hint, (2,), (2,)),
        (attention, (2, 3), (2, 3)),
        (attention, (2, 3, 4, 4), (2, 3)),
    ],
)
def test_features_that_cannot_be_compared_are_refused(
    loss: Callable[[Tensor, Tensor], Tensor], student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"got features \(2,.*expected two"):
        loss(torch.zeros(student), torch.zeros(teacher))


# --- all of them ---------------------------------------------------------------------------------

WEIGHTS = {"ce_weight": 1.0, "kd_weight": 1.0}
LOSSES = {
    "kd": loss_of("kd", **WEIGHTS, temperature=4.0, standardize=False),
    "standardized": loss_of("kd", **WEIGHTS, temperature=4.0, standardize=True),
    "kd_cross_entropy": loss_of("kd_cross_entropy", **WEIGHTS, temperature=4.0),
    "dkd": loss_of("dkd", **WEIGHTS, temperature=4.0, alpha=1.0, beta=8.0),
    "kd_cosine": loss_of("kd_cosine", **WEIGHTS),
    "hint": loss_of("hint", **WEIGHTS),
    "attention": loss_of("attention", **WEIGHTS),
}
each = pytest.mark.parametrize("loss", LOSSES.values(), ids=list(LOSSES))


@each
def test_the_teacher_is_never_given_a_gradient(loss: Any) -> None:
    torch.manual_seed(0)
    shape = (3, 4, 2, 2) if loss.compares == "maps" else (3, 4)
    student, teacher = torch.randn(shape), torch.randn(shape)
    student.requires_grad_()
    teacher.requires_grad_()
    loss(student, teacher, torch.tensor([0, 1, 3])).sum().backward()
    assert student.grad is not None and student.grad.abs().sum() > 0
    assert teacher.grad is None


@each
def test_a_student_that_equals_its_teacher_has_no_gradient(loss: Any) -> None:
    torch.manual_seed(0)
    shape = (3, 4, 2, 2) if loss.compares == "maps" else (3, 4)
    teacher = torch.randn(shape)
    student = teacher.clone().requires_grad_()
    value = loss(student, teacher, torch.tensor([0, 1, 3]))
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert gradient.abs().max() < 1e-5
    if loss is not LOSSES["kd_cross_entropy"]:
        assert value.abs().max() < 1e-5


def test_they_say_what_they_compare_and_which_takes_a_regressor() -> None:
    assert {loss.kind for loss in LOSSES.values()} == {"distillation"}
    assert {name: loss.compares for name, loss in LOSSES.items()} == {
        "kd": "logits", "standardized": "logits", "kd_cross_entropy": "logits", "dkd": "logits",
        "kd_cosine": "features", "hint": "features", "attention": "maps",
    }  # fmt: skip
    assert [name for name, loss in LOSSES.items() if loss.regressor] == ["hint"]
