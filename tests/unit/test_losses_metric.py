"""Triplets and pairs: by hand, against torch's, and the lecture notes' brackets."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from dlrun.losses import metric as m

wide = settings(deadline=None, max_examples=40, derandomize=True)
ORIGIN = torch.zeros(3, 2)
# 5 and 1 from the origin, and at it.
OTHERS = torch.tensor([[3.0, 4.0], [0.0, -1.0], [0.0, 0.0]])


def drawn(seed: int, count: int, n: int, d: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(count, n, d)


# --- triplet -------------------------------------------------------------------------------------


def test_triplet_by_hand() -> None:
    negative = torch.tensor([[0.0, 2.0]]).expand(3, 2)
    plain = m.triplet(ORIGIN, OTHERS, negative, 0.5, squared=False)
    squared = m.triplet(ORIGIN, OTHERS, negative, 0.5, squared=True)
    assert plain.tolist() == pytest.approx([5 - 2 + 0.5, 0, 0])
    assert squared.tolist() == pytest.approx([25 - 4 + 0.5, 0, 0])
    assert m.triplet(ORIGIN, OTHERS, negative, 2.25, False).tolist() == pytest.approx(
        [5.25, 1.25, 0.25], abs=1e-5
    )


@wide
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6), st.floats(0.01, 3))
def test_triplet_is_torchs(seed: int, n: int, d: int, margin: float) -> None:
    a, p, q = drawn(seed, 3, n, d)
    expected = F.triplet_margin_loss(a, p, q, margin=margin, reduction="none", eps=0)
    loss = m.Triplet(m.Triplet.Config(margin=margin, squared=False))(a, p, q)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    loss = m.Triplet(m.Triplet.Config(margin=margin, squared=True))(a, p, q)
    expected = ((a - p).square().sum(1) - (a - q).square().sum(1) + margin).clamp_min(0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("squared", [False, True])
def test_triplet_of_equal_embeddings_costs_the_margin_and_has_a_finite_gradient(
    squared: bool,
) -> None:
    a = torch.ones(1, 3, requires_grad=True)
    loss = m.triplet(a, torch.ones(1, 3), torch.ones(1, 3), 0.2, squared)
    assert loss.item() == pytest.approx(0.2)
    assert torch.autograd.grad(loss.sum(), a)[0].tolist() == [[0, 0, 0]]


def test_a_root_without_eps_would_have_no_gradient_at_zero() -> None:
    """Why there is one: with the bare root, equal images spoil the weights."""
    x = torch.ones(1, 3, requires_grad=True)
    (bare,) = torch.autograd.grad((x - 1).square().sum(1).sqrt().sum(), x)
    assert bare.isnan().all()


# --- contrastive ---------------------------------------------------------------------------------


def test_contrastive_by_hand() -> None:
    like = m.contrastive(ORIGIN, OTHERS, torch.ones(3), 3.0)
    unlike = m.contrastive(ORIGIN, OTHERS, torch.zeros(3), 3.0)
    assert like.tolist() == pytest.approx([12.5, 0.5, 0])
    assert unlike.tolist() == pytest.approx([0, 2, 4.5], rel=1e-5)


def test_contrastive_of_a_triplet_is_that_of_its_two_pairs() -> None:
    a, p, n = drawn(0, 3, 5, 4)
    loss = m.Contrastive(m.Contrastive.Config(margin=4.0))(a, p, n)
    near, far = (a - p).norm(dim=1), (a - n).norm(dim=1)
    by_hand = (near.square() + (4 - far).clamp_min(0).square()) / 2
    torch.testing.assert_close(loss, by_hand)


def test_the_notes_half_covers_both_terms_as_in_the_paper() -> None:
    """As the notes' 4.10 is written, its 1/(2N) is in front of the first term only."""
    torch.manual_seed(0)
    d, same, margin = 2 * torch.rand(8), torch.tensor([1, 0] * 4), 1.5
    x, y = torch.zeros(8, 1), d[:, None]
    first, second = same * d.square(), (1 - same) * (margin - d).clamp_min(0).square()
    as_written = first.sum() / 16 + second.sum()
    bracketed = (first + second).sum() / 16
    ours = m.contrastive(x, y, same, margin).mean()
    torch.testing.assert_close(ours, bracketed)
    assert (as_written - bracketed).abs().item() > 0.1
    # Hadsell et al. derive the forces: an unlike pair is pushed by margin - d, with the half.
    at = torch.tensor([[0.5]], requires_grad=True)
    force = torch.autograd.grad(
        m.contrastive(torch.zeros(1, 1), at, torch.zeros(1), margin).sum(), at
    )[0]
    assert force.item() == pytest.approx(-(1.5 - 0.5))


# --- cosine --------------------------------------------------------------------------------------


def test_cosine_embedding_by_hand() -> None:
    x, y = torch.tensor([[1.0, 0.0]] * 4), torch.tensor([[3.0, 4.0], [0.0, 1.0]] * 2)
    same = torch.tensor([1, 1, -1, -1])
    assert m.cosine_embedding(x, y, same, 0.5).tolist() == pytest.approx([0.4, 1, 0.1, 0])


@wide
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6), st.floats(-1, 1))
def test_cosine_embedding_is_torchs(seed: int, n: int, d: int, margin: float) -> None:
    x, y = drawn(seed, 2, n, d)
    same = torch.randint(2, (n,)) * 2 - 1
    expected = F.cosine_embedding_loss(x, y, same, margin=margin, reduction="none")
    torch.testing.assert_close(m.cosine_embedding(x, y, same, margin), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_pairs_of_half_precision_are_compared_in_float32(dtype: torch.dtype) -> None:
    x, y = (300 * drawn(0, 2, 4, 64)).to(dtype)
    same = torch.tensor([1, 0, 1, 0])
    for loss in (m.contrastive, m.cosine_embedding):
        value = loss(x, y, same, 1.0)
        assert value.dtype == torch.float32 and value.isfinite().all()
        assert torch.equal(value, loss(x.float(), y.float(), same, 1.0))


def test_pairs_of_none_of_extreme_and_of_zero_embeddings() -> None:
    none = torch.zeros(0, 3)
    assert m.contrastive(none, none, none[:, 0], 1.0).shape == (0,)
    assert m.cosine_embedding(none, none, none[:, 0], 1.0).shape == (0,)
    for scale in (0.0, 1e4):
        x = torch.full((2, 3), scale, requires_grad=True)
        y, same = torch.full((2, 3), -scale), torch.tensor([1, -1])
        for value in (m.contrastive(x, y, same > 0, 1.0), m.cosine_embedding(x, y, same, 0.0)):
            assert value.isfinite().all()
            assert torch.autograd.grad(value.sum(), x)[0].isfinite().all()
    assert math.isclose(m.cosine_embedding(none.new_zeros(1, 3), none.new_ones(1, 3),
                                           torch.tensor([1]), 0.0).item(), 1)  # fmt: skip
