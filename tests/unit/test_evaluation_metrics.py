"""Which way a number is better."""

import json
import math

import pytest

from dlrun.evaluation.metrics import METRICS, describe, find, metrics_of, to_plain
from dlrun.options import Metric

NAN = math.nan


@pytest.mark.parametrize(
    ("name", "new", "old", "expected"),
    [
        ("accuracy", 0.5, None, True),
        ("accuracy", 0.6, 0.5, True),
        ("accuracy", 0.5, 0.5, False),  # the first of equals is kept
        ("accuracy", 0.4, 0.5, False),
        ("negative_elbo", 90.0, 100.0, True),
        ("negative_elbo", 110.0, 100.0, False),
        ("negative_elbo", -5.0, 3.0, True),
        ("cycle_error", 0.2, 0.1, False),
        ("accuracy", NAN, None, False),
        ("accuracy", NAN, 0.5, False),
        ("negative_elbo", NAN, 100.0, False),
        ("negative_elbo", math.inf, 100.0, False),
    ],
)
def test_better(name: str, new: float, old: float | None, expected: bool) -> None:
    assert describe(name).better(new, old) is expected


def test_after_nan_the_first_number_is_the_best() -> None:
    best = None
    for value in (NAN, 0.3, NAN, 0.2, 0.4):
        if describe("knn").better(value, best):
            best = value
    assert best == 0.4


def test_an_unknown_number_is_described_by_its_own_name() -> None:
    assert describe("accuracy") is METRICS["accuracy"]
    assert find("my_own") is None
    assert describe("my_own") == Metric("my_own", None)
    assert describe("my_own").arrow == ""


OWN = {"f1": Metric("F1", True, ".3f"), "accuracy": Metric("my accuracy", False, unit="%")}


def test_a_methods_own_metrics_come_first_and_survive_a_summary() -> None:
    for own in (OWN, metrics_of({"metrics": json.loads(json.dumps(to_plain(OWN)))})):
        assert (describe("f1", own).label, describe("f1", own).arrow) == ("F1", "↑")
        assert describe("accuracy", own).label == "my accuracy, %"
        assert describe("f1", own).better(0.9, 0.5)
        assert describe("knn", own) is METRICS["knn"]
    assert metrics_of({}) == {}


@pytest.mark.parametrize(
    ("kind", "attribute", "label", "arrow"),
    [
        ("accuracy", "gender", "accuracy, gender", "↑"),
        ("absolute_error", "age", "absolute error, age", "↓"),
        ("loss", "age_group", "loss, age_group", "↓"),
    ],
)
def test_the_number_of_an_attribute_is_described_by_its_kind(
    kind: str, attribute: str, label: str, arrow: str
) -> None:
    metric = describe(f"{kind}_{attribute}")
    assert (metric.label, metric.arrow, metric.trivial) == (label, arrow, "")
    assert metric.form == METRICS[kind].form
    assert metric.better(2.0, 1.0) is (arrow == "↑")


def test_a_name_that_only_begins_like_a_known_one_is_an_unknown_one() -> None:
    assert describe("accuracyx").label == "accuracyx"
    assert describe("recall_at_1").label == "recall@1"  # known whole names go first
    assert [describe(n).arrow for n in ("accuracy", "loss", "kl")] == ["↑", "↓", ""]


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_forms_are_format_specifications(metric: object) -> None:
    assert format(0.12345, metric.form)  # type: ignore[attr-defined]
