"""Neighbours against brute force, the linear probe against another solver."""

import math
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.evaluation import features
from dlrun.evaluation.features import (
    KNN_K,
    KNN_TEMPERATURE,
    PROBE_L2,
    full_precision,
    knn_predict,
    linear_probe,
    nearest,
    share_equal,
    spread,
)


def brute_force(bank: Tensor, labels: Tensor, queries: Tensor, k: int) -> list[int]:
    """In Python's own floats, one query at a time."""

    def cosine(a: list[float], b: list[float]) -> float:
        product = sum(x * y for x, y in zip(a, b, strict=True))
        return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    predicted = []
    for query in queries.tolist():
        cosines = [
            (cosine(query, row), int(c)) for row, c in zip(bank.tolist(), labels, strict=True)
        ]
        votes: dict[int, float] = {}
        for similarity, c in sorted(cosines, reverse=True)[:k]:
            votes[c] = votes.get(c, 0.0) + math.exp(similarity / KNN_TEMPERATURE)
        predicted.append(max(votes, key=lambda c: votes[c]))
    return predicted


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 50),
)
def test_knn_is_brute_force(seed: int, size: int, dim: int, classes: int, k: int) -> None:
    torch.manual_seed(seed)
    bank, queries = torch.randn(size, dim + 1), torch.randn(7, dim + 1)
    labels = torch.randint(classes, (size,))
    assert knn_predict(bank, labels, queries, k).tolist() == brute_force(bank, labels, queries, k)


def test_knn_weighs_by_the_cosine_and_looks_at_k_neighbours() -> None:
    def at(cosine: float) -> list[float]:
        return [cosine, math.sqrt(1 - cosine**2)]

    bank = torch.tensor([at(1.0), at(0.9), at(0.9), at(0.89), at(0.89), at(0.89)])
    labels = torch.tensor([0, 1, 1, 2, 2, 2])
    query = torch.tensor([[5.0, 0.0]])  # its length does not matter
    # One at cosine 1 outweighs two at 0.9, which have exp(-0.1 / 0.07) = 0.24 each.
    assert knn_predict(bank, labels, query, k=3).tolist() == [0]
    assert knn_predict(bank, labels, query, k=1).tolist() == [0]
    # Near to each other, the number decides.
    bank[0] = torch.tensor(at(0.91))
    assert knn_predict(bank, labels, query, k=3).tolist() == [1]
    assert knn_predict(bank, labels, query, k=6).tolist() == [2]
    assert knn_predict(bank, labels, query).tolist() == [2]
    assert KNN_K == 20


def test_knn_of_many_queries_goes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    bank, labels, queries = torch.randn(30, 4), torch.randint(3, (30,)), torch.randn(11, 4)
    expected = knn_predict(bank, labels, queries)
    monkeypatch.setattr(features, "_CHUNK", 3)
    assert torch.equal(knn_predict(bank, labels, queries), expected)


def test_nearest_gives_rows_nearest_first() -> None:
    bank = torch.tensor([[0.0, 1.0], [1.0, 1.0], [9.0, 0.1], [-1.0, 0.0]])
    assert nearest(bank, torch.tensor([[2.0, 0.0], [0.0, 3.0]]), 3).tolist() == [
        [2, 1, 0],
        [0, 1, 2],
    ]


# --- the probe -----------------------------------------------------------------------------------


def clusters(separation: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    labels = torch.arange(120) % 3
    centres = separation * torch.tensor([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
    return centres[labels] + torch.randn(120, 2), labels


def test_the_probe_tells_separable_classes_apart() -> None:
    train, labels = clusters(12)
    test, wanted = clusters(12, seed=1)
    assert share_equal(linear_probe(train, labels, test), wanted) == 1


def test_the_probe_is_the_minimum_of_its_objective() -> None:
    """By plain gradient descent in float64 on standardised features, many small steps."""
    train, labels = clusters(1.5)
    train[:, 1] *= 40  # the scale of a feature does not matter
    mean, std = train.double().mean(0), train.double().std(0)
    x, onehot = (train.double() - mean) / std, torch.eye(3, dtype=torch.float64)[labels]
    weight, bias = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for _ in range(3000):
        residual = ((x @ weight.T + bias).softmax(1) - onehot) / len(x)
        weight -= residual.T @ x + 2 * PROBE_L2 * weight
        bias -= residual.sum(0)
    residual = ((x @ weight.T + bias).softmax(1) - onehot) / len(x)
    assert (residual.T @ x + 2 * PROBE_L2 * weight).abs().max() < 1e-9

    side = torch.linspace(-5, 5, 60)
    grid = torch.cartesian_prod(side, 40 * side)
    scores = (((grid.double() - mean) / std) @ weight.T + bias).softmax(1)
    best = scores.topk(2, dim=1).values
    sure = best[:, 0] - best[:, 1] > 1e-3
    predicted = linear_probe(train, labels, grid)
    assert torch.equal(predicted[sure], scores.argmax(1)[sure])
    assert sure.float().mean() > 0.99
    assert set(predicted.tolist()) == {0, 1, 2}


def test_the_probe_leaves_its_arguments_and_takes_a_feature_that_never_changes() -> None:
    train, labels = clusters(12)
    train = torch.cat([train, torch.full((120, 1), 7.0)], 1)
    before = train.clone()
    assert share_equal(linear_probe(train, labels, train), labels) == 1
    assert torch.equal(train, before)
    assert not train.requires_grad


# --- the spread of projections -------------------------------------------------------------------


def opposite(*counts: int, dim: int) -> Tensor:
    """Unit vectors along the first axes, each so many times in either direction."""
    axes = torch.eye(dim)[torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))]
    return torch.cat([axes, -axes])


POINT = torch.tensor([0.3, -1.0, 2.0, 0.1])
BASIS = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)))[0]
MANY = torch.randn(2000, 32, generator=torch.Generator().manual_seed(0))
LINE = torch.tensor([0.6, 0.8, 0.0]) * torch.tensor([1.0] * 20 + [-1.0] * 20)[:, None]
ENTROPY = -(3 / 4 * math.log(3 / 4) + 1 / 4 * math.log(1 / 4))


@pytest.mark.parametrize(
    ("projections", "std", "rank"),
    [
        (1e-3 * POINT.expand(50, 4), 0, 1),
        (1e3 * POINT.expand(50, 4), 0, 1),
        (POINT * torch.linspace(1, 9, 50)[:, None], 0, None),  # only the direction counts
        # 2D vectors of mean 0: each coordinate has a sum of squares of 2.
        (opposite(1, 1, dim=2), math.sqrt(2 / 3), 2),
        (opposite(*[1] * 16, dim=16), math.sqrt(2 / 31), 16),
        # The centred vectors of a basis add up to 0: D - 1 singular values of 1 and one of 0. Each
        # coordinate is 1 once and else 0: its variance, with D - 1, is 1 / D.
        (torch.eye(5), math.sqrt(1 / 5), 4),
        (BASIS, None, 4),
        (LINE, math.sqrt(40 / 39) * (0.6 + 0.8) / 3, 1),
        (MANY, 1 / math.sqrt(32), 31.8),
        # Singular values sqrt(18) and sqrt(2).
        (opposite(9, 1, dim=3), None, math.exp(ENTROPY)),
    ],
)
def test_spread(projections: Tensor, std: float | None, rank: float | None) -> None:
    found = spread(projections)
    assert found.keys() == {"projection_std", "projection_rank"}
    if std is not None:
        assert found["projection_std"] == pytest.approx(std, rel=0.01, abs=1e-6)
    if rank is not None:
        assert found["projection_rank"] == pytest.approx(rank, rel=0.01)


def test_a_single_projection_has_no_spread() -> None:
    """JSON has no NaN."""
    assert spread(torch.ones(1, 4)) == {}


# --- precision -----------------------------------------------------------------------------------


def test_all_of_it_is_float32_inside_of_a_bf16_evaluation() -> None:
    """Cosines that bf16 holds for equal decide as they do outside of autocast."""
    angles = torch.tensor([0.05, 0.02, 0.03, 0.04])  # cosines from 0.9988 to 0.9998
    bank = torch.stack([angles.cos(), angles.sin()], 1)
    query = torch.tensor([[1.0, 0.0]])
    labels = torch.tensor([0, 1, 2, 3])
    train, classes = clusters(1.5)

    def answers() -> list[list[int]]:
        return [
            nearest(bank, query, 4)[0].tolist(),
            knn_predict(bank, labels, query, k=1).tolist(),
            linear_probe(train, classes, train).tolist(),
        ]

    outside = answers()
    assert outside[:2] == [[1, 2, 3, 0], [1]]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        cosines = (query @ bank.T)[0].tolist()
        assert len(set(cosines)) < 4  # what it would come to
        assert answers() == outside


@pytest.mark.parametrize("fails", [False, True])
def test_products_are_full_float32_on_a_gpu_too_and_the_switch_is_put_back(fails: bool) -> None:
    """A run on a GPU sets TF32, which keeps ten bits of a cosine."""
    inside: list[str] = []

    @full_precision()
    def function() -> None:
        inside.append(torch.get_float32_matmul_precision())
        if fails:
            raise KeyError

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(KeyError) if fails else nullcontext():
            function()
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert inside == ["highest"]


def test_share_equal() -> None:
    assert share_equal(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 0])) == 0.75
