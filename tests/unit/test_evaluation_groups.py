"""Figures of each group: by hand, against counting one by one, and where there is nothing."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import data_of

from dlrun.data.table import DataSet, Table
from dlrun.evaluation.groups import group_numbers, wilson
from dlrun.evaluation.metrics import METRICS
from dlrun.runs.run import by_image_group


def data_set(labels: list[int], positive: int | None, **columns: list[int]) -> DataSet:
    found = {name: torch.tensor(values) for name, values in columns.items()}
    table = Table(torch.zeros(len(labels), 1, 2, 2).byte(), torch.tensor(labels), found)
    none, classes = table.subset(torch.arange(0)), max(2, max(labels) + 1)
    return data_of(none, none, table, classes, positive=positive, groups=tuple(columns))


def numbers(data: DataSet, predicted: list[int], full: bool = True) -> dict[str, float]:
    return group_numbers(data, data.test, torch.tensor(predicted), full)


def test_recall_precision_and_false_positives_by_hand() -> None:
    # Group 0: positives 1 1 1, two are found; negatives 0 0, one is predicted as 1.
    # Group 1: one positive, found; negatives 0 0 0, none taken.
    data = data_set([1, 1, 1, 0, 0, 1, 0, 0, 0], 1, sex=[0] * 5 + [1] * 4)
    found = numbers(data, [1, 1, 0, 1, 0, 1, 0, 0, 0])
    assert {name for name in found if "/" not in name} <= METRICS.keys()
    assert found["recall"] == 3 / 4
    assert found["precision"] == 3 / 4
    assert found["false_positive_rate"] == 1 / 5
    assert found["worst_group_recall"] == pytest.approx(2 / 3)
    assert found["group_gap"] == pytest.approx(1 / 3)
    # 66.7 and 100 points: their mean is 83.3, each is 16.7 away, and n - 1 is 1.
    assert found["group_variance"] == pytest.approx(2 * (100 / 6) ** 2)
    low, high = wilson(2, 3)
    assert by_image_group(found)["sex=0"] == pytest.approx(
        {"n": 3, "recall": 2 / 3, "low": low, "high": high, "negatives": 2, "precision": 2 / 3,
         "false_positive_rate": 1 / 2}
    )  # fmt: skip
    second = by_image_group(found)["sex=1"]
    assert (second["recall"], second["precision"], second["false_positive_rate"]) == (1, 1, 0)


def test_variance_is_that_of_the_papers_table() -> None:
    """Four groups of 1,000 with recalls of 85.0, 95.4, 96.1 and 97.2 points."""
    counts = [850, 954, 961, 972]
    group = [g for g in range(4) for _ in range(1000)]
    predicted = [int(i < count) for count in counts for i in range(1000)]
    found = numbers(data_set([1] * 4000, 1, skin=group), predicted)
    assert found["group_variance"] == pytest.approx(32.0958, abs=1e-3)
    assert found["group_gap"] == pytest.approx(0.122)
    assert "false_positive_rate" not in found and "negatives" in by_image_group(found)["skin=0"]


def test_columns_of_the_positives_alone() -> None:
    """As faces have a race and other images have none: groups have no precision.

    A positive without a value is counted, since recall is measured on it.
    """
    data = data_set([1, 1, 1, 0, 0], 1, race=[0, 0, 1, -1, -1])
    found = numbers(data, [1, 0, 1, 1, 0])
    assert "outside_groups" not in found
    unknown = numbers(data_set([1, 1, 1, 0, 0], 1, race=[0, 0, -1, -1, -1]), [1, 0, 1, 1, 0])
    assert unknown["outside_groups"] == 1 and unknown["worst_group_recall"] == 1 / 2
    assert (found["precision"], found["false_positive_rate"]) == (2 / 3, 1 / 2)
    for group in by_image_group(found).values():
        assert "precision" not in group and "false_positive_rate" not in group
        assert group["negatives"] == 0
    assert list(by_image_group(found)) == ["race=0", "race=1"]


def test_accuracy_where_no_class_is_positive() -> None:
    data = data_set([0, 1, 2, 2], None, sex=[0, 0, 1, 1], race=[0, 1, 1, -1])
    found = numbers(data, [0, 2, 2, 2])
    assert found["worst_group_accuracy"] == 0 and found["group_gap"] == 1
    assert "recall" not in found and "precision" not in found
    each = {name: (group["n"], group["accuracy"]) for name, group in by_image_group(found).items()}
    # The race of the last image is not known: it is in no group.
    assert each == {
        "sex=0 race=0": (1, 1.0), "sex=0 race=1": (1, 0.0), "sex=1 race=1": (1, 1.0),
    }  # fmt: skip


def test_an_empty_group_is_named_and_counts_for_nothing() -> None:
    data = data_set([1, 0, 1], 1, sex=[0, 1, 0])
    found = numbers(data, [1, 1, 1])
    assert by_image_group(found)["sex=1"] == {
        "n": 0, "negatives": 1, "precision": 0, "false_positive_rate": 1,
    }  # fmt: skip
    assert found["worst_group_recall"] == 1
    assert "group_gap" not in found and "group_variance" not in found  # of one group
    nobody = numbers(data_set([0, 0], 1, sex=[0, 1]), [0, 0])
    assert {key for key in nobody if "/" not in key} == {"false_positive_rate"}
    assert all(math.isfinite(value) for value in [*found.values(), *nobody.values()])


def test_a_group_of_train_alone_is_named_too() -> None:
    data = data_set([1, 1], 1, sex=[0, 0])
    train = Table(data.test.images, data.test.labels, {"sex": torch.tensor([1, -1])})
    data = replace(data, train=train)
    assert by_image_group(numbers(data, [1, 0]))["sex=1"] == {"n": 0, "negatives": 0}


def test_value_names_and_nothing_without_groups_or_labels() -> None:
    data = data_set([1, 1], 1, sex=[0, 1])
    named = replace(data, value_names={"sex": ("male", "m/f")})
    assert list(by_image_group(numbers(named, [1, 0]))) == ["sex=male", "sex=m/f"]
    assert numbers(replace(data, groups=()), [1, 0]) == {}
    assert numbers(replace(data, test=replace(data.test, labels=None)), [1, 0]) == {}


def test_while_training_only_what_fits_a_line() -> None:
    data = data_set([1, 1, 0], 1, sex=[0, 1, 0])
    found = numbers(data, [1, 0, 1], full=False)
    assert found == {"recall": 0.5, "false_positive_rate": 1.0, "worst_group_recall": 0.0}


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_tabulated(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_solves_its_equation(n: int, data: st.DataObject) -> None:
    """Each end p satisfies (share - p)^2 = z^2 p (1 - p) / n."""
    successes = data.draw(st.integers(0, n))
    share, z2 = successes / n, 1.959963984540054**2
    low, high = wilson(successes, n)
    assert 0 <= low <= share + 1e-12 and share - 1e-12 <= high <= 1
    for p in (low, high):
        assert (share - p) ** 2 == pytest.approx(z2 * p * (1 - p) / n, abs=1e-9)


def one_by_one(
    labels: list[int], predicted: list[int], positive: int | None, columns: dict[str, list[int]]
) -> dict[str, Any]:
    """Each group's (n, right, negatives, taken), by counting."""
    rows = list(zip(labels, predicted, *columns.values(), strict=True))
    seen = sorted({row[2:] for row in rows if min(row[2:]) >= 0})
    found = {}
    for values in seen:
        counts = [0, 0, 0, 0]
        for label, guess, *own in rows:
            if tuple(own) != values:
                continue
            if positive is None or label == positive:
                counts[0] += 1
                counts[1] += guess == label
            else:
                counts[2] += 1
                counts[3] += guess == positive
        name = " ".join(f"{c}={v}" for c, v in zip(columns, values, strict=True))
        found[name] = counts
    return found


@settings(max_examples=60)
@given(st.data())
def test_against_counting(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 30))
    column = lambda low, high: data.draw(st.lists(st.integers(low, high), min_size=n, max_size=n))  # noqa: E731
    labels, predicted = column(0, 2), column(0, 2)
    columns = {"a": column(-1, 2), "b": column(-1, 1)}
    for positive, used in product((None, 0, 2), (["a"], ["a", "b"])):
        chosen = {name: columns[name] for name in used}
        found = numbers(data_set(labels, positive, **chosen), predicted)
        each = by_image_group(found)
        expected = one_by_one(labels, predicted, positive, chosen)
        assert list(each) == list(expected)
        shares = []
        for name, (count, right, negatives, taken) in expected.items():
            group = each[name]
            measure = "accuracy" if positive is None else "recall"
            assert group["n"] == count and group.get("negatives", 0) == negatives
            assert group.get(measure) == (right / count if count else None)
            assert group.get("false_positive_rate") == (taken / negatives if negatives else None)
            says = right + taken
            assert group.get("precision") == (right / says if negatives and says else None)
            shares += [right / count] if count else []
        if len(shares) > 1:
            assert found["group_gap"] == max(shares) - min(shares)
            mean = sum(shares) / len(shares)
            variance = 1e4 * sum((share - mean) ** 2 for share in shares) / (len(shares) - 1)
            assert found["group_variance"] == pytest.approx(variance)
