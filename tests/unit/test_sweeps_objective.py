"""What a study optimizes."""

import json
from pathlib import Path

import pytest

from dlrun.errors import UserError
from dlrun.options import Metric
from dlrun.runs.folder import RunFolder
from dlrun.sweeps.objective import Objective, demand_measured, read_objectives, values
from dlrun.sweeps.plan import evaluations


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, [Objective("knn", True)]),
        ("accuracy", [Objective("accuracy", True)]),
        ("val/reconstruction_error", [Objective("reconstruction_error", False)]),
        ("min:kl", [Objective("kl", False)]),
        ("max:mine", [Objective("mine", True)]),
        ("accuracy_gender", [Objective("accuracy_gender", True)]),
        (("knn", "seconds"), [Objective("knn", True), Objective("seconds", False)]),
    ],
)
def test_directions(asked: tuple[str, ...] | str | None, found: list[Objective]) -> None:
    assert read_objectives(asked, {"knn"}) == (found, [])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("kl", "kl: neither direction is better; give min:kl or max:kl"),
        (
            "acuracy",
            "acuracy: unknown. Did you mean accuracy? For a metric of your own give min:acuracy",
        ),
        ("test.accuracy", "test.accuracy: the test split must not choose anything"),
        ("less:kl", "less:kl: expected NAME, min:NAME or max:NAME"),
        (("knn", "max:knn"), "max:knn: given twice"),
        ((), "an empty list"),
    ],
)
def test_what_is_wrong(asked: tuple[str, ...] | str, message: str) -> None:
    _, problems = read_objectives(asked, {"knn"})
    assert len(problems) == 1 and problems[0].startswith(f"tune.objective: {message}")


def test_a_method_says_which_way_its_own_metric_is_better() -> None:
    own = {"f1": Metric("F1", higher_is_better=True), "size": Metric("size")}
    assert read_objectives(None, {"f1"}, own) == ([Objective("f1", True)], [])
    assert read_objectives("f1", {"knn"}, own) == ([Objective("f1", True)], [])
    assert "size: neither direction" in read_objectives(None, {"size"}, own)[1][0]
    assert "f1: unknown" in read_objectives(None, {"f1"})[1][0]


def test_methods_with_different_metrics_need_a_name() -> None:
    _, problems = read_objectives(None, {"knn", "accuracy"})
    assert problems[0].startswith(
        "tune.objective: the methods have different metrics: accuracy, knn"
    )
    assert "no metric that chooses" in read_objectives(None, {None})[1][0]


def test_values_are_those_of_the_checkpoint_that_val_chose(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = [
        {"step": 5, "time": 1, "train/loss": 2.0},
        {"step": 5, "time": 1, "val/accuracy": 0.5, "val/kl": 3.0},
        {"step": 10, "time": 2, "val/accuracy": 0.9, "val/kl": 2.0},
        {"step": 15, "time": 3, "val/accuracy": 0.8, "val/kl": float("nan")},
    ]
    assert evaluations(folder) == []
    folder.metrics.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 20, "val/acc')
    folder.summary.write_text(json.dumps({"best": {"step": 10, "val": 0.9}, "seconds": 7}))
    both = [Objective("kl", False), Objective("seconds", False), Objective("accuracy", True)]
    assert values(folder, both) == [2.0, 7.0, 0.9]
    assert [step for step, _ in evaluations(folder)] == [5, 10, 15]
    demand_measured(folder, both)
    with pytest.raises(UserError, match="does not measure it on val; it measures accuracy, kl"):
        demand_measured(folder, [*both, Objective("knn", True)])
    folder.summary.write_text(json.dumps({"best": {"step": 15, "val": 0.9}}))
    with pytest.raises(ValueError, match="val kl is nan"):
        values(folder, both[:1])
