"""What is held out for val and test."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.data.table import hold_out


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=80),
    fraction=st.floats(0.01, 0.99),
)
@settings(deadline=None, max_examples=60, derandomize=True)
def test_each_class_gives_its_share(labels: list[int], fraction: float) -> None:
    column = torch.tensor(labels)
    stays, out = hold_out(column, len(labels), fraction, "val")
    assert stays.dtype == out.dtype == torch.int64
    assert torch.equal(torch.cat([stays, out]).sort().values, torch.arange(len(labels)))
    assert torch.equal(stays, stays.sort().values) and torch.equal(out, out.sort().values)
    for c in column.unique():
        size, held = int((column == c).sum()), int((column[out] == c).sum())
        assert held <= size - 1  # something is left to learn from
        assert held >= min(1, size - 1)  # and something to judge by
        assert abs(held - size * fraction) <= 1


@given(n=st.integers(1, 200), fraction=st.floats(0, 0.99))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_without_labels_a_share_of_all(n: int, fraction: float) -> None:
    stays, out = hold_out(None, n, fraction, "val")
    assert torch.equal(torch.cat([stays, out]).sort().values, torch.arange(n))
    assert len(stays) >= 1
    assert abs(len(out) - n * fraction) <= 1


def test_nothing_is_held_out_at_zero() -> None:
    stays, out = hold_out(torch.tensor([0, 1, 0, 1]), 4, 0.0, "val")
    assert stays.tolist() == [0, 1, 2, 3] and out.tolist() == []
    assert out.dtype == torch.int64


def test_exact_counts() -> None:
    labels = torch.tensor([0] * 400 + [1] * 40 + [2] * 4 + [3] + [4] * 17)
    _, out = hold_out(labels, len(labels), 0.1, "val")
    assert labels[out].bincount(minlength=5).tolist() == [40, 4, 1, 0, 2]


def test_each_class_is_held_out_by_itself() -> None:
    out = hold_out(torch.arange(400) % 2, 400, 0.1, "val")[1]
    even, odd = ({row // 2 for row in out.tolist() if row % 2 == part} for part in (0, 1))
    assert len(even) == len(odd) == 20 and even != odd


def test_val_and_test_are_held_out_independently() -> None:
    val, test = (hold_out(None, 1000, 0.5, purpose)[1] for purpose in ("val", "test"))
    shared = len(set(val.tolist()) & set(test.tolist()))
    assert abs(shared - 250) < 5 * 8  # hypergeometric, standard deviation 7.9


def test_the_held_out_are_not_the_first_ones() -> None:
    out = hold_out(torch.zeros(1000, dtype=torch.long), 1000, 0.1, "val")[1].float()
    assert out.mean().item() == pytest.approx(500, abs=5 * 289 / 10)
