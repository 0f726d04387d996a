"""The leaderboard: val chooses, test is told."""

from typing import Any

import pytest

from dlrun.results.leaderboard import leaderboard, metrics_of
from dlrun.runs.record import Record


def run(
    method: str, seed: int, lr: float, val: float | None, test: dict[str, float], key: str = "knn",
    state: str = "completed",
) -> Record:  # fmt: skip
    config: dict[str, Any] = {"method.name": method, "seed": seed, "optimizer.lr": lr}
    summary = {"key_metric": key, "best": {"val": val}, "test": {"best": test, "last": test}}
    return Record(f"/o/{method}{lr}{seed}", state, config=config, summary=summary)


def test_val_chooses_the_config_even_where_test_would_choose_another() -> None:
    runs = [
        run("byol", 0, 0.1, 0.80, {"knn": 0.70}), run("byol", 1, 0.1, 0.70, {"knn": 0.72}),
        run("byol", 0, 0.2, 0.60, {"knn": 0.95}), run("byol", 1, 0.2, 0.79, {"knn": 0.97}),
        run("vae", 0, 0.1, 480.0, {"knn": 0.90}, key="negative_elbo"),
        run("vae", 0, 0.2, 470.0, {"knn": 0.80}, key="negative_elbo"),  # lower is better
    ]  # fmt: skip
    first, second = leaderboard(runs, "knn")
    assert (first.method, first.test.mean, first.val.mean, first.configs) == ("vae", 0.8, 470.0, 2)
    assert (second.method, second.test.n, second.configs) == ("byol", 2, 2)
    assert second.test.mean == pytest.approx(0.71) and second.val.mean == pytest.approx(0.75)
    assert {r.config["optimizer.lr"] for r in second.group.runs} == {0.1}


def test_one_lucky_seed_does_not_choose() -> None:
    runs = [
        run("byol", 0, 0.1, 0.99, {"knn": 0.9}), run("byol", 1, 0.1, 0.10, {"knn": 0.9}),
        run("byol", 0, 0.2, 0.60, {"knn": 0.5}), run("byol", 1, 0.2, 0.60, {"knn": 0.5}),
    ]  # fmt: skip
    assert [place.test.mean for place in leaderboard(runs, "knn")] == [0.5]


def test_lower_is_better_where_the_metric_says_so() -> None:
    runs = [run(name, 0, 0.1, 0.5, {"loss": loss}) for name, loss in (("a", 2.0), ("b", 1.0))]
    assert [place.method for place in leaderboard(runs, "loss")] == ["b", "a"]


def test_what_is_not_complete_or_lacks_the_metric_has_no_place() -> None:
    runs = [
        run("a", 0, 0.1, 0.5, {"knn": 0.1}),
        run("b", 0, 0.1, 0.5, {"knn": 0.9}, state="failed"),
        run("c", 0, 0.1, 0.5, {"accuracy": 0.9}, key="accuracy"),
        run("d", 0, 0.1, None, {"knn": 0.9}),
    ]
    assert [place.method for place in leaderboard(runs, "knn")] == ["a"]


def test_key_metrics_that_do_not_compare_have_places_of_their_own() -> None:
    runs = [
        run("supervised", 0, 0.1, 0.9, {"knn": 0.5}, key="accuracy"),
        run("supervised", 1, 0.2, 3.0, {"knn": 0.6}, key="absolute_error"),
    ]
    assert [p.key_metric for p in leaderboard(runs, "knn")] == ["absolute_error", "accuracy"]


def test_the_metric_that_most_methods_have_stands_first() -> None:
    runs = [
        run("a", 0, 0.1, 0.5, {"accuracy": 0.5, "knn": 0.1, "kl": 1.0}, key="accuracy"),
        run("b", 0, 0.1, 0.5, {"knn": 0.1, "loss": 1.0}),
    ]
    assert next(iter(metrics_of(runs))) == "knn"
    assert "kl" not in metrics_of(runs)  # neither way is better
