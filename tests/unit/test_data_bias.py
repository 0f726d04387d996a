"""Biased data sets: what is tied in train is free in test, to the image."""

import math
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.config.compose import compose_plain
from dlrun.config.schema import check
from dlrun.data.bias import (
    attribute_of,
    before_stripes,
    biased,
    gratings,
    tail_rows,
    tied_values,
    tinted,
)
from dlrun.data.open import open_dataset
from dlrun.data.options import AttributeName, BiasConfig
from dlrun.data.table import DataSet, Table
from dlrun.errors import ConfigError, UserError

ATTRIBUTES = get_args(AttributeName)


def opened(*overrides: str) -> DataSet:
    config = check(compose_plain(["method=supervised", *overrides], None))
    return open_dataset(config.dataset, None, config.bias, config.groups)


def share_aligned(table: Table) -> float:
    return float(table.attributes["aligned"].double().mean())


# --- which image has which attribute -------------------------------------------------------------


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("strength", [0.0, 0.5, 0.95, 1.0])
def test_the_strength_is_met_in_train_and_the_test_is_free(attribute: str, strength: float) -> None:
    data = opened(f"bias={attribute}", f"bias.strength={strength}")
    count = len(data.value_names[attribute])
    for table in (data.train, data.val):
        assert table.labels is not None
        for c in range(10):
            values = table.attributes[attribute][table.labels == c]
            shares = values.bincount(minlength=count).double() / len(values)
            expected = torch.full((count,), (1 - strength) / (count - 1), dtype=torch.float64)
            expected[c % count] = strength
            assert shares == pytest.approx(expected, abs=1 / len(values) + 1e-9)
    labels, values = data.test.labels, data.test.attributes[attribute]
    assert labels is not None
    for c in range(10):  # 100 images of each class
        of_class = values[labels == c].bincount(minlength=count)
        assert int(of_class.max()) - int(of_class.min()) <= 1
    assert share_aligned(data.test) == pytest.approx(1 / count, abs=0.01)


def test_val_follows_train_or_test() -> None:
    assert share_aligned(opened("bias=colour").val) == pytest.approx(0.95)
    assert share_aligned(opened("bias=colour", "bias.val=test").val) == pytest.approx(0.1)


def test_aligned_is_what_it_says_and_its_value_has_a_word() -> None:
    data = opened("bias=rotation")
    for table in (data.train, data.val, data.test):
        assert table.labels is not None
        own = table.attributes["rotation"] == table.labels % 4
        assert torch.equal(own.long(), table.attributes["aligned"])
    assert data.value_names["rotation"] == ("0°", "90°", "180°", "270°")
    assert data.groups == ("aligned",) and data.value_names["aligned"] == ("no", "yes")


@given(st.data())
@settings(max_examples=60)
def test_tied_values_against_counting(data: st.DataObject) -> None:
    labels = torch.tensor(data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=60)))
    count = data.draw(st.integers(2, 7))
    strength = data.draw(st.none() | st.floats(0, 1))
    values = tied_values(labels, count, strength, data.draw(st.integers(0, 9)), "train")
    for c in labels.unique().tolist():
        own = values[labels == c]
        assert own.min() >= 0 and own.max() < count
        counts = own.bincount(minlength=count).tolist()
        if strength is not None:
            assert counts.pop(c % count) == round(strength * len(own))
        assert max(counts) - min(counts) <= 1


def test_which_images_is_drawn() -> None:
    """Not the first ones, not the same for two seeds or splits."""
    labels = torch.zeros(200).long()
    drawn = [tied_values(labels, 2, 0.5, seed, split) for seed, split in
             ((0, "train"), (1, "train"), (0, "test"), (0, "train"))]  # fmt: skip
    assert torch.equal(drawn[0], drawn[3])
    for other in drawn[1:3]:
        assert 60 < int((drawn[0] == other).sum()) < 140
    assert 30 < int(drawn[0][:100].sum()) < 70


# --- the long tail -------------------------------------------------------------------------------


@pytest.mark.parametrize("imbalance", [2.0, 10.0, 100.0, 1000.0])
def test_counts_fall_exponentially_in_train_only(imbalance: float) -> None:
    data = opened("bias=long_tail", f"bias.imbalance={imbalance}")
    assert data.train.labels is not None and data.val.labels is not None
    counts = data.train.labels.bincount(minlength=10).tolist()
    assert counts == [max(1, round(360 * imbalance ** (-c / 9))) for c in range(10)]
    assert data.val.labels.bincount().tolist() == [40] * 10 and len(data.test) == 1000
    assert data.groups == ("frequency",)
    frequency = {
        c: set(data.test.attributes["frequency"][data.test.labels == c].tolist()) for c in range(10)
    }
    assert frequency == {c: {2 if c < 3 else 1 if c < 7 else 0} for c in range(10)}
    assert data.value_names["frequency"] == ("few", "medium", "many")


def test_a_long_tail_of_classes_that_differ_already() -> None:
    labels = torch.tensor([0] * 30 + [1] * 100 + [2] * 50)
    rows = tail_rows(labels, 3, 4.0, 0)
    # 30 is the most that class 0 has, so of 4, 2 and 1 parts a part is 7.5.
    assert labels[rows].bincount().tolist() == [30, 15, 8]
    assert torch.equal(rows, rows.sort().values) and len(rows.unique()) == len(rows)
    assert not torch.equal(rows, tail_rows(labels, 3, 4.0, 1))


def test_a_class_without_images_stays_without() -> None:
    labels = torch.tensor([0] * 8 + [2] * 8)
    assert labels[tail_rows(labels, 4, 8.0, 0)].bincount(minlength=4).tolist() == [8, 0, 2, 0]


def test_a_tail_and_an_attribute_together() -> None:
    data = opened("bias=colour", "bias.imbalance=10")
    assert data.groups == ("frequency", "aligned")
    assert share_aligned(data.train) == pytest.approx(0.95, abs=0.01)
    assert len(data.report) == 3
    # Where a class is positive, its frequency is that of a single group.
    assert opened("bias=long_tail", "dataset.positive=Bag").groups == ()
    assert opened("bias=colour", "groups=[]").groups == ()
    assert opened("bias=colour", "groups=[colour]").groups == ("colour",)


# --- what it looks like --------------------------------------------------------------------------


def test_a_tint_by_hand() -> None:
    images = torch.tensor([0, 100, 255]).byte().view(3, 1, 1, 1)
    red_and_cyan = tinted(images, torch.tensor([0, 0, 1]), 2)
    # Saturation .8: red is (1, .2, .2), and cyan (.2, 1, 1).
    assert red_and_cyan.flatten(1).tolist() == [[0, 0, 0], [100, 20, 20], [51, 255, 255]]
    colour = torch.tensor([10, 100, 200]).byte().view(1, 3, 1, 1)
    assert tinted(colour, torch.tensor([1]), 2).flatten().tolist() == [2, 100, 200]


def test_turned_and_upside_down_by_hand() -> None:
    image = torch.tensor([[1, 2], [3, 4]]).byte()[None, None].expand(4, 1, 2, 2)
    turned = attribute_of("rotation", 4, (1, 2, 2)).draw(image, torch.arange(4))
    assert turned.flatten(1).tolist() == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    flipped = attribute_of("flip", 4, (1, 2, 2)).draw(image[:2], torch.tensor([0, 1]))
    assert flipped.flatten(1).tolist() == [[1, 2, 3, 4], [3, 4, 1, 2]]


def test_stripes_stand_behind_grey_and_around_colour() -> None:
    grey = torch.zeros(2, 1, 16, 16).byte()
    grey[:, :, 4:8, 4:8] = 255
    values = torch.tensor([0, 1])
    drawn = before_stripes(grey, values, 4)
    assert (drawn[:, :, 4:8, 4:8] == 255).all()
    around = (grey == 0).expand_as(drawn)
    expected = gratings(4, 16, 16)[values].round().byte()
    assert torch.equal(drawn[around], expected[around])
    photo = torch.full((2, 3, 16, 16), 7).byte()
    framed = before_stripes(photo, values, 4)
    assert (framed[..., 2:-2, 2:-2] == 7).all() and (framed[:, :, :2] != 7).any()
    assert torch.equal(framed[:, :1, :2], expected[:, :, :2])


def test_stripes_at_hand_computed_points() -> None:
    # Across the columns at angle 0, down the rows at 90 degrees; five pixels a period.
    found = gratings(2, 3, 3)[:, 0]
    one = 96 + 64 * math.sin(2 * math.pi / 5)
    assert found[0, 0].tolist() == pytest.approx([96, one, 96 + 64 * math.sin(4 * math.pi / 5)])
    assert found[1, 1].tolist() == pytest.approx([one] * 3, abs=1e-3)
    assert found.min() >= 0 and found.max() <= 255


@pytest.mark.parametrize("attribute", ATTRIBUTES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_every_value_looks_different(attribute: str, channels: int, classes: int) -> None:
    image = torch.randint(
        60, 200, (1, channels, 16, 16), generator=torch.Generator().manual_seed(0)
    )
    kind = attribute_of(attribute, classes, (channels, 16, 16))
    count = len(kind.value_names)
    assert 2 <= count <= classes and len(set(kind.value_names)) == count
    drawn = kind.draw(image.byte().expand(count, -1, -1, -1), torch.arange(count))
    assert drawn.dtype == torch.uint8
    assert len(drawn.unique(dim=0)) == count


# --- the data set --------------------------------------------------------------------------------


def same(a: DataSet, b: DataSet) -> bool:
    pairs = zip((a.train, a.val, a.test), (b.train, b.val, b.test), strict=True)
    return all(x.checksum() == y.checksum() for x, y in pairs)


@pytest.mark.parametrize("bias", ["long_tail", "colour", "background"])
def test_two_calls_give_the_same_and_the_checksum_says_what(bias: str) -> None:
    first, again, plain = opened(f"bias={bias}"), opened(f"bias={bias}", "seed=7"), opened()
    assert same(first, again) and first.checksum == again.checksum
    other = opened(f"bias={bias}", "bias.seed=1")
    assert len({first.checksum, other.checksum, plain.checksum}) == 3


def test_without_a_bias_nothing_is_touched() -> None:
    data = opened()
    assert not data.train.attributes and not data.groups and len(data.report) == 1
    assert data.image_shape == (1, 28, 28)


def test_statistics_are_those_of_the_biased_train_split() -> None:
    data = opened("bias=colour", "bias.strength=1")
    mean = data.train.images.double().mean((0, 2, 3)) / 255
    assert torch.allclose(data.mean.double(), mean, atol=1e-5)


# --- mistakes ------------------------------------------------------------------------------------


def bias_of(**changed: Any) -> BiasConfig:
    standard = {"attribute": "colour", "strength": 0.9, "imbalance": 1.0, "val": "train", "seed": 0}
    return BiasConfig(**(standard | changed))


def table(labels: list[int] | None, side: int = 4, **columns: Tensor) -> Table:
    count = len(labels or [0] * 4)
    found = None if labels is None else torch.tensor(labels)
    return Table(torch.zeros(count, 1, side, 4).byte(), found, columns)


@pytest.mark.parametrize(
    ("given", "classes", "attribute", "message"),
    [
        (table(None), 0, "colour", "bias: dataset=own has no classes to tie the bias to"),
        (table([0, 0]), 1, "flip", "bias: dataset=own has no classes"),
        (table([0, 1], side=6), 2, "rotation", "bias=rotation: images of 6 x 4 cannot be turned"),
        (
            table([0, 1], flip=torch.zeros(2).long()), 2, "flip",
            "bias: the data set has a column 'flip' already",
        ),
    ],
)  # fmt: skip
def test_where_it_makes_no_sense(given: Table, classes: int, attribute: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        biased((given, given, given), classes, bias_of(attribute=attribute), "own")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["bias.strength=0.9"], "bias: got strength=0.9 without an attribute; choose bias=colour"),
        (["bias=colour", "bias.strength=null"], "bias: got attribute=colour without a strength"),
        (["bias=colour", "bias.strength=1.5"], "bias.strength: got 1.5, expected a number in"),
        (["bias=long_tail", "bias.imbalance=0.5"], "bias.imbalance: got 0.5, expected a number"),
        (["bias.attribute=color"], "bias.attribute: got color, expected colour or flip or"),
        (["bias=color"], "bias=color: no such bias. Did you mean bias=colour?"),
        (["bias=flip", "bias.strenght=1"], "bias.strenght: unknown key. Did you mean bi"),
    ],
)
def test_mistakes_in_the_config(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose_plain(overrides, None))
    assert caught.value.problems[0].startswith(message)
