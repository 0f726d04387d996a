"""Numbers against numbers, and logits against one-hot labels."""

from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dlrun.losses import regression as r

wide = settings(deadline=None, max_examples=40, derandomize=True)
squared, absolute = r.squared_error, r.absolute_error
huber = partial(r.huber, delta=2.0)
each = pytest.mark.parametrize("loss", [squared, absolute, huber])


def test_by_hand() -> None:
    output, target = torch.tensor([1.0, -2.0, 5.0]), torch.tensor([1.5, 0.0, 0.0])
    assert r.squared_error(output, target).tolist() == [0.25, 4, 25]
    assert r.absolute_error(output, target).tolist() == [0.5, 2, 5]
    # Half the square up to 2, there it is 2; beyond, 2 (5 - 1).
    assert huber(output, target).tolist() == [0.125, 2, 8]


@wide
@given(st.integers(0, 999), st.integers(0, 6), st.floats(0.01, 10))
def test_they_are_torchs(seed: int, batch: int, delta: float) -> None:
    torch.manual_seed(seed)
    x, y = 5 * torch.randn(batch), 5 * torch.randn(batch)
    torch.testing.assert_close(r.squared_error(x, y), F.mse_loss(x, y, reduction="none"))
    torch.testing.assert_close(r.absolute_error(x, y), F.l1_loss(x, y, reduction="none"))
    by_hand = torch.where(
        (x - y).abs() <= delta, (x - y).square() / 2, delta * ((x - y).abs() - delta / 2)
    )
    torch.testing.assert_close(r.huber(x, y, delta=delta), by_hand, rtol=1e-4, atol=1e-5)
    expected = F.huber_loss(x, y, reduction="none", delta=delta)
    torch.testing.assert_close(r.huber(x, y, delta=delta), expected)


def test_labels_count_as_one_hot_rows_averaged_over_classes() -> None:
    logits = torch.tensor([[0.0, 3.0, 0.5, 1.0], [0.0, 0.0, 0.0, 1.0]])
    labels = torch.tensor([1, 3])
    # Off by 0, 2, 0.5 and 1 from (0, 1, 0, 0); the second row is right.
    assert squared(logits, labels).tolist() == [(4 + 0.25 + 1) / 4, 0]
    assert absolute(logits, labels).tolist() == [3.5 / 4, 0]
    assert huber(logits, labels).tolist() == [(2 + 0.125 + 0.5) / 4, 0]


@each
@pytest.mark.parametrize(
    ("output", "target"), [((3, 1), (3,)), ((3,), (3, 1)), ((3,), (1,)), ((2, 2), (2, 2)), ((), ())]
)
def test_shapes_that_would_be_broadcast_are_refused(
    loss: Any, output: tuple[int, ...], target: tuple[int, ...]
) -> None:
    """(B, 1) against (B,) makes (B, B) of it: each image against each other one's number."""
    with pytest.raises(ValueError, match=r"expected \(B,\) and \(B,\)"):
        loss(torch.zeros(output), torch.zeros(target))


@each
@pytest.mark.parametrize(("output", "labels"), [((3,), 3), ((3, 4), 2), ((3, 4, 1), 3)])
def test_labels_need_a_row_each(loss: Any, output: tuple[int, ...], labels: int) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, K\) and int64 \(B,\)"):
        loss(torch.zeros(output), torch.zeros(labels, dtype=torch.int64))


@each
@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.uint8])
def test_other_types_of_targets_are_refused(loss: Any, dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match="expected a float type or int64"):
        loss(torch.zeros(3, 2), torch.zeros(3, dtype=dtype))
