"""Batches in groups of one class."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import batches_of
from torch import Tensor

from dlrun.data.batches import Batches, Grouped
from dlrun.data.order import GROUP, GroupOrder, groups_per_class
from dlrun.data.table import DataSet, Table, pixel_statistics
from dlrun.errors import UserError


def order(labels: list[int] | Tensor, seed: int = 0, purpose: str = "groups") -> GroupOrder:
    return GroupOrder(torch.as_tensor(labels), seed, purpose)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(0, 9), st.integers(0, 3)
)  # classes without an image too
def test_an_epoch_is_groups_of_one_class_that_show_every_image(
    labels: list[int], seed: int, epoch: int
) -> None:
    made = order(labels, seed)
    rows = made.epoch(epoch)
    assert rows.dtype == torch.int64 and len(rows) == made.length
    counts = Counter(labels)
    assert made.length == sum(4 * -(-n // 4) for n in counts.values())
    for group in rows.view(-1, GROUP).tolist():
        assert len({labels[row] for row in group}) == 1
        assert len(set(group)) == min(GROUP, counts[labels[group[0]]])  # none twice without need
    shown = Counter(rows.tolist())
    assert set(shown) == set(range(len(labels)))
    for c in counts:  # only what fills the last group comes again
        times = [shown[row] for row, label in enumerate(labels) if label == c]
        assert max(times) - min(times) <= 1


def test_a_short_last_group_is_filled_from_the_classs_own_beginning() -> None:
    rows = order([0] * 6).epoch(0).tolist()
    one, other = rows[:4], rows[4:]
    assert one[2:] == other[:2] or other[2:] == one[:2]
    assert sorted(Counter(rows).values()) == [1, 1, 1, 1, 2, 2]
    three = order([0] * 3).epoch(0).tolist()
    assert three[3] == three[0] and len(set(three)) == 3


def test_every_epoch_mixes_images_within_and_between_groups() -> None:
    made = order(torch.arange(80) % 2)
    epochs = [made.epoch(epoch).view(-1, GROUP).tolist() for epoch in range(10)]
    together = [{frozenset(group) for group in epoch} for epoch in epochs]
    assert len(together[0] & together[1]) == 0  # 20 of 180,000 possible groups
    classes = {tuple(group[0] % 2 for group in epoch) for epoch in epochs}
    assert len(classes) == 10


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_a_batch_holds_as_many_classes_as_it_can(classes: int) -> None:
    labels = torch.arange(classes * 12) % classes
    made, size = order(labels), GROUP * classes
    firsts = set()
    for number in range(30):
        shown = labels[made.batch(number, size)]
        assert shown.bincount().tolist() == [GROUP] * classes
        firsts.add(int(shown[0]))
    assert len(firsts) > 1  # in an order that changes


def test_rare_classes_come_anywhere_in_the_epoch() -> None:
    labels = torch.tensor([0] * 400 + [1] * 4)
    places = [int((order(labels).epoch(e) >= 400).nonzero()[0, 0]) // 4 for e in range(300)]
    counts = torch.tensor(places).bincount(minlength=101)
    assert len(counts) == 101
    # Uniform up to the ends: 300 draws of 101 places, in four quarters.
    quarters = counts[:100].view(4, 25).sum(1)
    assert (quarters - 75).abs().max() < 40


def test_groups_per_class() -> None:
    assert groups_per_class(torch.tensor([0, 0, 0, 0, 0, 2])).tolist() == [2, 0, 1]


# --- the view ------------------------------------------------------------------------------------


def dataset(labels: list[int] | None) -> DataSet:
    """Image number i is filled with the byte i."""
    size = len(labels) if labels is not None else 9
    images = torch.arange(size, dtype=torch.uint8)[:, None, None, None].expand(size, 1, 2, 3)
    train = Table(images.clone(), None if labels is None else torch.tensor(labels))
    mean, std = pixel_statistics(train.images)
    names = tuple("abcd") if labels is not None else ()
    return DataSet("own", train, train, train, names, None, mean, std, "0")


def grouped(labels: list[int], size: int) -> Batches:
    return batches_of(dataset(labels), Grouped, size)


def test_the_view_shows_its_rows_with_their_labels() -> None:
    labels = [0, 1, 2] * 7
    drawn = grouped(labels, 12)
    assert drawn.length == 24
    for number in range(5):
        batch = drawn.draw(number)
        assert isinstance(batch, Grouped) and batch.image.shape == (12, 1, 2, 3)
        assert torch.equal((batch.image[:, 0, 0, 0] * 255).round().long(), batch.index)
        assert torch.equal(batch.label, torch.tensor(labels)[batch.index])
        assert torch.equal(batch.index, drawn.order.batch(number, 12))
        assert (batch.label.view(3, 4) == batch.label.view(3, 4)[:, :1]).all()
    assert Grouped.needs_labels


@pytest.mark.parametrize("labels", [None, [0] * 9, [3] * 9])
def test_one_class_has_no_negatives(labels: list[int] | None) -> None:
    with pytest.raises(UserError, match=r"dataset=own: .* labels of at least two classes"):
        Grouped.length(dataset(labels))


def test_a_batch_of_one_group_has_no_negatives() -> None:
    with pytest.raises(UserError, match=r"batch_size: got 7, .* of 4 of one class; .* >= 8"):
        grouped([0, 1] * 8, 7).draw(0)
    grouped([0, 1] * 8, 8).draw(0)
