"""The leaderboard: val chooses, test is told."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from run_folders import change_json, make_run

from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.report.tables import families, key_results
from dlrun.runs.comparison import compare, leaderboard, metric_to_rank, ranking_metrics
from dlrun.runs.groups import by_seed
from dlrun.runs.run import Run
from dlrun.views.comparison import print_comparison, print_leaderboard

Make = Callable[..., Run]


@pytest.fixture
def run(tmp_path: Path) -> Make:
    def make(
        method: str, seed: int, lr: float, val: float | None, test: dict[str, float],
        key: str = "knn", state: str = "completed", **config: Any,
    ) -> Run:  # fmt: skip
        numbers = {"best": test, "last": test}
        path = make_run(
            tmp_path / f"{method}{lr}{seed}{len(config)}", seed=seed, lr=lr, state=state,
            config={"method.name": method, **config}, test=None, key_metric=key,
            best={"step": 10, "val": val},
        )  # fmt: skip
        change_json(path / "summary.json", test=numbers)
        return Run(path)

    return make


def test_val_chooses_the_config_even_where_test_would_choose_another(run: Make) -> None:
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
    assert {one.config["optimizer.lr"] for one in second.group.runs} == {0.1}


def test_one_lucky_seed_does_not_choose(run: Make) -> None:
    runs = [
        run("byol", 0, 0.1, 0.99, {"knn": 0.9}), run("byol", 1, 0.1, 0.10, {"knn": 0.9}),
        run("byol", 0, 0.2, 0.60, {"knn": 0.5}), run("byol", 1, 0.2, 0.60, {"knn": 0.5}),
    ]  # fmt: skip
    assert [rank.test.mean for rank in leaderboard(runs, "knn")] == [0.5]


def test_runs_that_saw_other_images_are_told(run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run("a", seed, 0.1, 0.5, {"knn": 0.5}) for seed in range(3)]
    change_json(runs[2].path / "provenance.json", data={"checksum": "other"})
    change_json(runs[2].path / "status.json", heartbeat=2e9)
    ranks = leaderboard(runs, "knn")
    assert [(rank.test.n, rank.configs) for rank in ranks] == [(2, 2)]
    print_leaderboard(runs, ranks, "knn", Console())
    assert "not the same images everywhere: a0.100, a0.110 saw other" in capsys.readouterr().out


def test_lower_is_better_where_the_metric_says_so(run: Make) -> None:
    runs = [run(name, 0, 0.1, 0.5, {"loss": loss}) for name, loss in (("a", 2.0), ("b", 1.0))]
    assert [rank.method for rank in leaderboard(runs, "loss")] == ["b", "a"]


def test_what_is_not_complete_or_lacks_the_metric_has_no_place(run: Make) -> None:
    runs = [
        run("a", 0, 0.1, 0.5, {"knn": 0.1}),
        run("b", 0, 0.1, 0.5, {"knn": 0.9}, state="failed"),
        run("c", 0, 0.1, 0.5, {"accuracy": 0.9}, key="accuracy"),
        run("d", 0, 0.1, None, {"knn": 0.9}),
    ]
    assert [rank.method for rank in leaderboard(runs, "knn")] == ["a"]


def test_key_metrics_that_do_not_compare_have_places_of_their_own(run: Make) -> None:
    runs = [
        run("supervised", 0, 0.1, 0.9, {"knn": 0.5}, key="accuracy"),
        run("supervised", 1, 0.2, 3.0, {"knn": 0.6}, key="absolute_error"),
    ]
    assert [p.key_metric for p in leaderboard(runs, "knn")] == ["absolute_error", "accuracy"]


def test_the_metric_that_most_methods_have_stands_first(run: Make) -> None:
    runs = [
        run("a", 0, 0.1, 0.5, {"accuracy": 0.5, "knn": 0.1, "kl": 1.0}, key="accuracy"),
        run("b", 0, 0.1, 0.5, {"knn": 0.1, "loss": 1.0}),
    ]
    assert ranking_metrics(runs)[0] == "knn"
    assert "kl" not in ranking_metrics(runs)  # neither way is better


def test_a_mean_that_is_not_a_number_is_last_and_never_chosen(run: Make) -> None:
    runs = [
        run("a", 0, 0.1, math.nan, {"loss": 0.1}), run("a", 0, 0.2, 0.5, {"loss": 0.9}),
        run("b", 0, 0.1, 0.5, {"loss": math.nan}), run("c", 0, 0.1, 0.5, {"loss": 0.8}),
    ]  # fmt: skip
    assert [rank.method for rank in leaderboard(runs, "loss")] == ["c", "a", "b"]
    assert leaderboard(runs, "loss")[1].test.mean == 0.9


def test_a_method_says_which_way_its_own_metric_is_better(run: Make) -> None:
    own = {"wording": "F1", "higher_is_better": True, "form": ".2f", "unit": "", "trivial": ""}
    runs = [run("mine", seed, lr, lr, {"f1": lr}, key="f1") for seed in (0, 1) for lr in (0.1, 0.3)]
    assert ranking_metrics(runs) == []
    for each in runs:
        change_json(each.path / "summary.json", metrics={"f1": own})
    runs = [Run(each.path) for each in runs]
    assert ranking_metrics(runs) == ["f1"]
    (best,) = leaderboard(runs, "f1")
    assert best.val.mean == best.test.mean == 0.3
    groups, shown = by_seed(runs), io.StringIO()
    print_comparison(groups, {}, compare(groups), chosen=False, console=Console(file=shown))
    assert "f1 ↑" in shown.getvalue() and "0.30 ±" in shown.getvalue()
    assert [family[0].test("best", "f1").mean for family in families(groups)] == [0.3]
    assert key_results(groups)[0]["what"] == "F1 ↑"


def test_what_cannot_be_ranked_says_so(run: Make) -> None:
    runs = [run("a", 0, 0.1, 0.5, {"knn": 0.5}), run("b", 0, 0.1, 0.5, {"knn": 0.5})]
    assert metric_to_rank(runs, None) == "knn"
    with pytest.raises(UserError, match=r"--metric kn: .* Did you mean knn"):
        metric_to_rank(runs, "kn")
    with pytest.raises(UserError, match=r"a number to rank by .*failed"):
        metric_to_rank([run("c", 0, 0.1, 0.5, {}, state="failed")], None)
    other = run("d", 0, 0.1, 0.5, {"knn": 0.5}, **{"dataset.name": "mnist"})
    with pytest.raises(UserError, match=r"2 data sets.*dataset=fashion_mini"):
        metric_to_rank([*runs, other], None)


def test_without_a_key_metric_nothing_can_be_chosen_and_it_is_said(run: Make) -> None:
    """A plain GAN whose generated images were measured."""
    runs = [run("gan:GAN", 0, 0.1, None, {"knn": 0.7}, key="")]
    with pytest.raises(UserError, match=r"key metric on val.*dlrun compare shows knn"):
        leaderboard(runs, "knn")
