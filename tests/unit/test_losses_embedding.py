"""Triplets and pairs: by hand, against torch's, and the lecture notes' brackets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from dlrun.losses import embedding as m

wide = settings(deadline=None, max_examples=40, derandomize=True)
ORIGIN = torch.zeros(3, 2)
# 5 and 1 from the origin, and at it.
OTHERS = torch.tensor([[3.0, 4.0], [0.0, -1.0], [0.0, 0.0]])


def drawn(seed: int, count: int, n: int, d: int) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(count, n, d)


# --- triplet -------------------------------------------------------------------------------------


@wide
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6), st.floats(0.01, 3))
def test_triplet_is_torchs(seed: int, n: int, d: int, margin: float) -> None:
    a, p, q = drawn(seed, 3, n, d)
    expected = F.triplet_margin_loss(a, p, q, margin=margin, reduction="none", eps=0)
    loss = m.triplet(a, p, q, margin=margin, squared=False)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)
    loss = m.triplet(a, p, q, margin=margin, squared=True)
    expected = ((a - p).square().sum(1) - (a - q).square().sum(1) + margin).clamp_min(0)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("squared", [False, True])
def test_triplet_of_equal_embeddings_costs_the_margin_and_has_a_finite_gradient(
    squared: bool,
) -> None:
    a = torch.ones(1, 3, requires_grad=True)
    loss = m.triplet(a, torch.ones(1, 3), torch.ones(1, 3), margin=0.2, squared=squared)
    assert loss.item() == pytest.approx(0.2)
    assert torch.autograd.grad(loss.sum(), a)[0].tolist() == [[0, 0, 0]]


# --- contrastive ---------------------------------------------------------------------------------


def test_contrastive_by_hand() -> None:
    far = torch.full((3, 2), 99.0)
    pulled = m.contrastive(ORIGIN, OTHERS, far, margin=3.0)
    pushed = m.contrastive(ORIGIN, ORIGIN, OTHERS, margin=3.0)
    assert pulled.tolist() == pytest.approx([12.5, 0.5, 0])
    assert pushed.tolist() == pytest.approx([0, 2, 4.5], rel=1e-5)


def test_contrastive_of_a_triplet_is_that_of_its_two_pairs() -> None:
    a, p, n = drawn(0, 3, 5, 4)
    near, far = (a - p).norm(dim=1), (a - n).norm(dim=1)
    by_hand = (near.square() + (4 - far).clamp_min(0).square()) / 2
    torch.testing.assert_close(m.contrastive(a, p, n, margin=4.0), by_hand)


# --- cosine --------------------------------------------------------------------------------------


@wide
@given(st.integers(0, 999), st.integers(1, 5), st.integers(1, 6), st.floats(-1, 1))
def test_cosine_embedding_is_torchs(seed: int, n: int, d: int, margin: float) -> None:
    a, p, q = drawn(seed, 3, n, d)
    like = F.cosine_embedding_loss(a, p, torch.ones(n), margin=margin, reduction="none")
    unlike = F.cosine_embedding_loss(a, q, -torch.ones(n), margin=margin, reduction="none")
    torch.testing.assert_close(m.cosine_embedding(a, p, q, margin=margin), like + unlike)
