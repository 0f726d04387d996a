"""What a study optimizes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlrun.errors import UserError
from dlrun.files import parse_lines, write_text
from dlrun.options import Metric
from dlrun.runs.folder import RunFolder
from dlrun.sweeps.objective import Objective, demand_measured, read_objectives, values
from dlrun.sweeps.plan import Evaluations


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
    job: Any = SimpleNamespace(folder=folder, evaluations=Evaluations(folder.metrics))
    assert job.evaluations.look() == []
    folder.metrics.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 20, "val/acc')
    folder.summary.write_text(json.dumps({"best": {"step": 10, "val": 0.9}, "seconds": 7}))
    both = [Objective("kl", False), Objective("seconds", False), Objective("accuracy", True)]
    assert values(folder, both) == [2.0, 7.0, 0.9]
    assert [step for step, _ in job.evaluations.look()] == [5, 10, 15]
    demand_measured(job, both)
    with pytest.raises(UserError, match="does not measure it on val; it measures accuracy, kl"):
        demand_measured(job, [*both, Objective("knn", True)])
    folder.summary.write_text(json.dumps({"best": {"step": 15, "val": 0.9}}))
    with pytest.raises(ValueError, match="val kl is nan"):
        values(folder, both[:1])


def test_a_look_reads_what_was_appended_and_a_replaced_file_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, parsed = tmp_path / "metrics.jsonl", []

    def parse(content: bytes, having: bytes) -> list[dict[str, Any]]:
        parsed.append(len(content))
        return parse_lines(content, having)

    monkeypatch.setattr("dlrun.sweeps.plan.parse_lines", parse)
    line = '{"step": %d, "time": 1, "val/kl": 2.0}\n'
    path.write_text(line % 1 + (line % 2)[:20])
    curve = Evaluations(path)
    assert curve.look() == curve.look() == [(1, {"kl": 2.0})]
    with path.open("a") as file:
        file.write((line % 2)[20:])  # the rest of the second line
    assert [step for step, _ in curve.look()] == [1, 2]
    assert parsed == [len(line % 1), 0, len(line % 1)]
    write_text(path, line % 1 + line % 5 + line % 6)  # as a run does that is resumed
    assert [step for step, _ in curve.look()] == [1, 5, 6]
