"""Batches drawn by weights: from whom, how often, and as a function of what."""

import pytest
import torch
from parts import batches_of
from torch import Tensor

from dlrun.data.batches import Batches
from dlrun.data.table import DataSet, Table
from dlrun.errors import UserError
from dlrun.evaluation.pictures import most_and_least_drawn
from dlrun.methods.dbvae import HalfWeighted


def batches(
    labels: list[int], positive: int | None, size: int, weights: Tensor | None = None, seed: int = 0
) -> Batches:
    images = torch.arange(len(labels)).byte()[:, None, None, None].expand(-1, 1, 4, 4).clone()
    train = Table(images, torch.tensor(labels), {"row": torch.arange(len(labels))})
    data = DataSet(
        name="own", train=train, val=train, test=train, class_names=("a", "b", "c"), domains=None,
        mean=torch.zeros(1), std=torch.ones(1), checksum="0", positive=positive,
    )  # fmt: skip
    weights = torch.zeros(len(labels), dtype=torch.float64) if weights is None else weights
    return batches_of(data, HalfWeighted, size, seed=seed, weights=weights)


LABELS = [0, 1, 2, 1] * 10


def test_half_of_it_are_positives_the_larger_half() -> None:
    for size in (2, 7, 20):
        made = batches(LABELS, 1, size)
        batch = made.draw(3)
        half = size - size // 2
        assert (batch.label[:half] == 1).all()
        assert (batch.label[half:] != 1).all()
        assert len(batch.label) == size
        assert torch.equal((batch.image[:, 0, 0, 0] * 255).round().long(), batch.index)
        assert torch.equal(batch.attributes["row"], batch.index)
        assert made.length == 40


def test_positives_come_as_often_as_they_weigh_and_the_others_alike() -> None:
    weights = torch.zeros(40, dtype=torch.float64)
    weights[1], weights[3], weights[5] = 0.5, 0.3, 0.2
    made = batches(LABELS, 1, 40, weights)
    count = torch.zeros(40)
    for number in range(200):
        count += made.draw(number).index.bincount(minlength=40)
    share = count[:6] / 4000
    torch.testing.assert_close(share[[1, 3, 5]], torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0)
    assert count[1::2].sum() == 4000 and count[7::2].sum() == 0
    assert count[::2].min() >= 199  # passes, not draws
    assert count[::2].max() <= 201


def test_before_the_first_epoch_positives_are_alike() -> None:
    made = batches(LABELS, 1, 40)
    count = sum(made.draw(n).index[:20].bincount(minlength=40) for n in range(100))
    assert isinstance(count, Tensor)
    assert count[1::2].min() > 60 and count[::2].sum() == 0


def test_weights_that_the_method_changes_in_place_are_seen() -> None:
    weights = torch.zeros(40, dtype=torch.float64)
    made = batches(LABELS, 1, 8, weights)
    made.draw(0)
    for row in (5, 9):
        weights.zero_()
        weights[row] = 1
        assert made.draw(1).index[:4].tolist() == [row] * 4
    saved = torch.zeros(40, dtype=torch.float64)
    saved[11] = 1
    weights.copy_(saved)  # as load_state_dict does
    assert made.draw(1).index[:4].tolist() == [11] * 4


def test_a_batch_is_a_function_of_seed_and_number() -> None:
    weights = torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = [
        batches(LABELS, 1, 16, weights, seed).draw(number).index.tolist()
        for seed, number in ((0, 4), (0, 4), (1, 4), (0, 5))
    ]
    assert found[0] == found[1]
    assert len({tuple(rows) for rows in found}) == 3


@pytest.mark.parametrize(("labels", "positive"), [(LABELS, None), ([1] * 40, 1)])
def test_without_others_the_whole_batch_is_drawn_by_weight(
    labels: list[int], positive: int | None
) -> None:
    weights = torch.zeros(40, dtype=torch.float64)
    weights[6] = 1
    assert batches(labels, positive, 9, weights).draw(0).index.tolist() == [6] * 9
    assert len(batches(labels, positive, 1, weights).draw(0).index) == 1


def test_more_in_a_batch_than_there_are_of_a_kind() -> None:
    made = batches([0] * 3 + [1] * 37, 1, 40)
    batch = made.draw(0)
    assert batch.index[20:].bincount(minlength=3)[:3].min() >= 6


def test_no_room_for_both_or_no_positive() -> None:
    with pytest.raises(UserError, match=r"batch_size: got 1, but .* expected an integer >= 2"):
        batches(LABELS, 1, 1).draw(0)
    with pytest.raises(UserError, match=r"dataset.positive: no train image"):
        batches([0, 2] * 4, 1, 4).draw(0)


def test_most_and_least_drawn_without_those_of_no_weight() -> None:
    weights = torch.tensor([0.0, 0.1, 0.4, 0.0, 0.2, 0.3])
    table = Table(torch.arange(6).byte()[:, None, None, None].expand(-1, 1, 2, 2).clone(), None)
    rows, captions = most_and_least_drawn(table, weights, 2)
    shown = [(row[:, 0, 0, 0] * 255).round().int().tolist() for row in rows]
    assert shown == [[2, 5], [4, 1], [1, 4], [5, 2]]
    assert captions == ["drawn most"] * 2 + ["drawn least"] * 2
