"""Retrieval against brute force, with ties, single images and features that say nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.evaluation import features as features_module
from dlrun.evaluation.features import mean_average_precision, queries, recall_at_k


def ranked(features: Tensor, labels: list[int], query: int) -> list[bool]:
    """Whether each other image is of the query's class, the nearest first; a tie is a miss."""

    def cosine(a: list[float], b: list[float]) -> float:
        size = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / size if size else 0.0

    rows = features.tolist()
    found = [
        (-cosine(rows[query], rows[i]), labels[i] == labels[query])
        for i in range(len(rows))
        if i != query
    ]
    return [hit for _, hit in sorted(found)]


def twin(features: Tensor, labels: list[int], ks: list[int]) -> tuple[dict[int, float], float]:
    recalls: dict[int, list[bool]] = {k: [] for k in ks}
    precisions = []
    for query in range(len(labels)):
        hits = ranked(features, labels, query)
        if not any(hits):
            continue
        for k in ks:
            recalls[k].append(any(hits[:k]))
        at_hits = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits)) if hits[i]]
        precisions.append(sum(at_hits) / len(at_hits))

    def mean(values: list[bool] | list[float]) -> float:
        return sum(values) / len(values) if values else math.nan

    return {k: mean(values) for k, values in recalls.items()}, mean(precisions)


def assert_twins(features: Tensor, labels: list[int]) -> None:
    ks = [1, 2, 5]
    recall, precision = twin(features, labels, ks)
    wanted = torch.tensor(labels, dtype=torch.int64)
    assert recall_at_k(features, wanted, ks) == pytest.approx(recall, abs=1e-12, nan_ok=True)
    found = mean_average_precision(features, wanted)
    assert found == pytest.approx(precision, abs=1e-6, nan_ok=True)


LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=25)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(LABELS, st.integers(2, 5), st.integers(0, 10**6))
def test_both_are_brute_force(labels: list[int], dim: int, seed: int) -> None:
    torch.manual_seed(seed)
    assert_twins(torch.randn(len(labels), dim), labels)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(LABELS, st.integers(0, 10**6))
def test_both_are_brute_force_where_most_cosines_tie(labels: list[int], seed: int) -> None:
    """Along the axes, and 0: cosines are -1, 0 and 1 in any arithmetic."""
    torch.manual_seed(seed)
    axes = torch.eye(3)[torch.randint(3, (len(labels),))]
    assert_twins(axes * torch.randint(-2, 3, (len(labels), 1)), labels)


def test_by_hand() -> None:
    angles = torch.tensor([0.02, 0.1, 0.3, 0.62, 1.0])
    features = torch.stack([angles.cos(), angles.sin()], 1)
    features *= torch.tensor([[1], [9], [2], [1], [3]])  # lengths do not matter
    labels = torch.tensor([0, 1, 0, 0, 2])
    # Others from the nearest on: of row 0 1 2 3 4, of row 2 1 0 3 4 (0.2, 0.28, 0.32), of row 3
    # 2 4 1 0; rows 1 and 4 are alone in their classes.
    recall = recall_at_k(features, labels, (1, 2))
    assert recall == {1: pytest.approx(1 / 3), 2: 1.0}
    precision = [(1 / 2 + 2 / 3) / 2, (1 / 2 + 2 / 3) / 2, (1 / 1 + 2 / 4) / 2]
    assert mean_average_precision(features, labels) == pytest.approx(sum(precision) / 3)


def test_an_image_alone_in_its_class_is_no_query_but_is_in_the_way() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.2]])
    labels = torch.tensor([0, 0, 1])
    assert queries(labels).tolist() == [True, True, False]
    assert recall_at_k(features, labels, (1, 2)) == {1: 0.0, 2: 1.0}
    assert mean_average_precision(features, labels) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("features", "recall", "precision", "tolerance"),
    [
        (torch.eye(3).repeat_interleave(20, 0) * torch.arange(1, 61)[:, None], 1, 1, 1e-6),
        # All the same: below chance, which is 1/3, whatever the order of the table.
        (torch.ones(60, 5), 0, sum(i / (40 + i) for i in range(1, 20)) / 19, 1e-6),
        (torch.full((60, 3), torch.nan), 0, sum(i / (40 + i) for i in range(1, 20)) / 19, 0.01),
    ],
)
def test_perfect_features_and_such_as_find_nothing(
    features: Tensor, recall: float, precision: float, tolerance: float
) -> None:
    labels = torch.arange(60) // 20  # sorted by class
    assert recall_at_k(features, labels, (1, 5)) == {1: recall, 5: recall}
    assert mean_average_precision(features, labels) == pytest.approx(precision, abs=tolerance)


def test_without_two_images_of_a_class_there_is_nothing_to_find() -> None:
    features, labels = torch.randn(4, 3), torch.arange(4)
    assert math.isnan(recall_at_k(features, labels, (1,))[1])
    assert math.isnan(mean_average_precision(features, labels))
    assert not queries(labels).any()


def both(features: Tensor, labels: Tensor) -> list[float]:
    recalls = recall_at_k(features, labels, (1, 3)).values()
    return [*recalls, mean_average_precision(features, labels)]


def test_many_queries_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(30, 4), torch.randint(3, (30,))
    expected = both(features, labels)
    monkeypatch.setattr(features_module, "_QUERIES", 7)
    assert both(features, labels) == pytest.approx(expected, abs=1e-7)


def test_the_order_of_the_table_does_not_matter() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(40, 3).round(), torch.randint(4, (40,))
    shuffled = torch.randperm(40)
    found = both(features[shuffled], labels[shuffled])
    assert found == pytest.approx(both(features, labels), abs=1e-7)


def test_both_are_float32_inside_of_a_bf16_evaluation() -> None:
    torch.manual_seed(0)
    features, labels = 20 + torch.randn(50, 4), torch.randint(5, (50,))
    outside = both(features, labels)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert both(features, labels) == outside
