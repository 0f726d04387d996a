"""Which triplets a batch is turned into, against loops in plain Python."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dlrun.methods.siamese import Mining, distances, mine

HOW: list[Mining] = ["random", "hard", "semihard"]


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Small whole numbers, so that rows coincide and distances tie, and tie exactly."""
    size, dim = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    numbers = st.lists(st.integers(-3, 3), min_size=dim, max_size=dim)
    points = draw(st.lists(numbers, min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return torch.tensor(points).float(), torch.tensor(labels)


def others(label: list[int], a: int) -> tuple[list[int], list[int]]:
    """The positives and the negatives of row `a`."""
    positive = [i for i in range(len(label)) if label[i] == label[a] and i != a]
    return positive, [i for i in range(len(label)) if label[i] != label[a]]


def anchors(label: list[int]) -> list[int]:
    return [a for a in range(len(label)) if all(others(label, a))]


def hard_twin(points: list[list[float]], label: list[int]) -> list[tuple[int, int, int]]:
    triplets = []
    for a in anchors(label):
        positive, negative = others(label, a)
        far = max(positive, key=lambda i: math.dist(points[a], points[i]))
        near = min(negative, key=lambda i: math.dist(points[a], points[i]))
        triplets.append((a, far, near))
    return triplets


def semihard_twin(points: list[list[float]], label: list[int], a: int, p: int) -> int:
    """The negative that belongs to a pair."""

    def distance(i: int) -> float:
        return math.dist(points[a], points[i])

    negative = others(label, a)[1]
    farther = [i for i in negative if distance(i) > distance(p)]
    return min(farther, key=distance) if farther else max(negative, key=distance)


def triplets_of(points: Tensor, label: Tensor, how: Mining) -> list[tuple[int, int, int]]:
    rows = mine(points, label, how)
    assert all(part.dtype == torch.int64 and part.shape == rows[0].shape for part in rows)
    a, p, n = (part.tolist() for part in rows)
    return list(zip(a, p, n, strict=True))


@settings(deadline=None, max_examples=100, derandomize=True)
@given(batches())
def test_hard_is_brute_force(batch: tuple[Tensor, Tensor]) -> None:
    points, label = batch
    assert triplets_of(points, label, "hard") == hard_twin(points.tolist(), label.tolist())


@settings(deadline=None, max_examples=100, derandomize=True)
@given(batches(), st.integers(0, 99))
def test_semihard_is_brute_force(batch: tuple[Tensor, Tensor], seed: int) -> None:
    points, label = batch
    torch.manual_seed(seed)
    found = triplets_of(points, label, "semihard")
    assert [a for a, _, _ in found] == anchors(label.tolist())
    for a, p, n in found:
        assert p in others(label.tolist(), a)[0]
        assert n == semihard_twin(points.tolist(), label.tolist(), a, p)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(batches(), st.integers(0, 99))
def test_random_takes_what_is_allowed_for_each_image_that_has_it(
    batch: tuple[Tensor, Tensor], seed: int
) -> None:
    points, label = batch
    torch.manual_seed(seed)
    found = triplets_of(points, label, "random")
    assert [a for a, _, _ in found] == anchors(label.tolist())
    for a, p, n in found:
        positive, negative = others(label.tolist(), a)
        assert p in positive and n in negative


@pytest.mark.parametrize("how", ["random", "semihard"])
def test_draws_are_uniform(how: Mining) -> None:
    """4 positives and, where they are drawn, 3 negatives: all pairs as often."""
    label = torch.tensor([0] * 5 + [1] * 3)
    points = torch.arange(8.0)[:, None]
    torch.manual_seed(0)
    counts: Counter[tuple[int, int]] = Counter()
    for _ in range(2400):
        _, p, n = mine(points, label, how)
        counts[int(p[0]), int(n[0]) if how == "random" else 0] += 1
    wanted = 12 if how == "random" else 4
    assert len(counts) == wanted
    deviation = 5 * math.sqrt(2400 / wanted)
    assert all(abs(count - 2400 / wanted) < deviation for count in counts.values())


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 1, 2]])
def test_no_triplet_where_there_is_none(how: Mining, labels: list[int]) -> None:
    assert triplets_of(torch.randn(len(labels), 4), torch.tensor(labels), how) == []


@pytest.mark.parametrize("how", HOW)
def test_draws_come_from_the_default_generator(how: Mining) -> None:
    points, label = torch.randn(32, 4), torch.arange(32) % 4
    found = []
    for seed in (0, 1, 0):
        torch.manual_seed(seed)
        found.append(triplets_of(points, label, how))
    assert found[0] == found[2]
    assert (found[0] == found[1]) == (how == "hard")


@pytest.mark.parametrize("how", HOW)
def test_precision_and_gradients_do_not_enter(how: Mining) -> None:
    """Distances that bf16 holds for equal decide as they do outside of autocast."""
    torch.manual_seed(0)
    points = 100 + 0.01 * torch.randn(16, 4)
    label = torch.arange(16) % 3
    points.requires_grad_(True)
    found = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            rows = mine(points, label, how)
        assert not any(part.requires_grad for part in rows)
        found.append([part.tolist() for part in rows])
    assert found[0] == found[1]
    coarse = points.detach().bfloat16()
    assert triplets_of(coarse, label, "hard") == triplets_of(coarse.float(), label, "hard")


def test_distances_are_exact_between_near_rows() -> None:
    """The usual |x|^2 - 2 x y + |y|^2 of float32 loses them."""
    x = 1000 + torch.arange(30.0)[:, None] * 1e-3
    x[3] = x[2]
    found = distances(x)
    assert found[2, 3] == 0 and found.dtype == torch.float32
    assert torch.equal(found, (x - x.T).abs())
