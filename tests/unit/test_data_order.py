"""In which order an epoch shows the images."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.data.order import GroupOrder, Order


def order(n: int, length: int | None = None, seed: int = 0, purpose: str = "order") -> Order:
    return Order(torch.arange(n), length or n, seed, purpose)


def in_groups(n: int, seed: int = 0, purpose: str = "order") -> GroupOrder:
    return GroupOrder(torch.arange(n) % 3, seed, purpose)


@given(
    rows=st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True),
    size=st.integers(1, 20),
    seed=st.integers(0, 9),
    epoch=st.integers(0, 3),
)
@settings(deadline=None, max_examples=40, derandomize=True)
def test_the_batches_of_an_epoch_are_disjoint_rows_of_the_table(
    rows: list[int], size: int, seed: int, epoch: int
) -> None:
    size = min(size, len(rows))
    indices = torch.tensor(rows)
    shuffled = Order(indices, len(rows), seed, "order")
    per_epoch = len(rows) // size
    batches = [shuffled.batch(epoch * per_epoch + i, size) for i in range(per_epoch)]
    shown = torch.cat(batches)
    assert all(len(batch) == size for batch in batches)
    assert len(shown.unique()) == per_epoch * size  # none twice
    assert torch.isin(shown, indices).all()
    assert torch.equal(shuffled.epoch(epoch).sort().values, indices.sort().values)


def test_every_epoch_has_an_order_of_its_own() -> None:
    shuffled = order(100)
    epochs = [tuple(shuffled.epoch(epoch).tolist()) for epoch in range(20)]
    assert len(set(epochs)) == 20
    assert tuple(range(100)) not in epochs


@pytest.mark.parametrize("make", [order, in_groups])
def test_an_order_is_a_function_of_seed_epoch_and_purpose(make: Callable[..., Order]) -> None:
    # In any sequence of questions, as after a resume in the middle of an epoch.
    forwards = [make(37).batch(number, 5) for number in range(30)]
    backwards = make(37)
    for number in reversed(range(30)):
        assert torch.equal(backwards.batch(number, 5), forwards[number])
    assert not torch.equal(make(37, seed=1).epoch(0), make(37).epoch(0))
    assert not torch.equal(make(37, purpose="order a").epoch(0), make(37).epoch(0))
    torch.manual_seed(3)
    first = make(37).epoch(4)
    torch.manual_seed(4)
    assert torch.equal(make(37).epoch(4), first)


def test_batches_count_on_over_epochs_without_the_incomplete_one() -> None:
    shuffled = order(10)  # 3 batches of 3, the tenth row left out
    assert torch.equal(shuffled.batch(2, 3), shuffled.epoch(0)[6:9])
    assert torch.equal(shuffled.batch(3, 3), shuffled.epoch(1)[:3])
    assert torch.equal(shuffled.batch(7, 3), shuffled.epoch(2)[3:6])


@given(n=st.integers(1, 30), length=st.integers(1, 100), epoch=st.integers(0, 3))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_a_small_domain_repeats_evenly(n: int, length: int, epoch: int) -> None:
    drawn = order(n, length).epoch(epoch)
    assert len(drawn) == length
    counts = drawn.bincount(minlength=n)
    assert counts.max() - counts.min() <= 1
    for start in range(0, length, n):  # each pass is complete before the next begins
        assert len(drawn[start : start + n].unique()) == len(drawn[start : start + n])


def test_each_repeat_has_an_order_of_its_own() -> None:
    passes = order(50, 200).epoch(0).view(4, 50)
    assert len({tuple(row.tolist()) for row in passes}) == 4


def test_rows_left_out_of_one_epoch_come_in_another() -> None:
    shuffled = order(10)
    shown = torch.cat([shuffled.batch(number, 9) for number in range(20)])
    assert len(shown.unique()) == 10
