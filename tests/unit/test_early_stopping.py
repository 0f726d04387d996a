"""Patience: counted in evaluations since the best, from what a checkpoint holds."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from bench import EVERY, TOTAL, Bench, Killed, config

from dlrun.errors import Interrupted, UserError
from dlrun.models.pretrained import Pretrained
from dlrun.training import checkpoint
from dlrun.training import run as run_module
from dlrun.training.assemble import assemble
from dlrun.training.loop import Loop, Progress

# --- the rule ------------------------------------------------------------------------------------


def loop(patience: int | None, step: int, best_step: int | None) -> Loop:
    """One that stands somewhere; nothing else of it is looked at."""
    made = object.__new__(Loop)
    config = SimpleNamespace(patience=patience)
    made.experiment = cast(Any, SimpleNamespace(config=config, total_steps=TOTAL))
    made.eval_every, made.progress = EVERY, Progress(step=step, best_step=best_step)
    return made


@pytest.mark.parametrize("patience", [1, 2, 4])
@pytest.mark.parametrize("best_step", [3, 12])
def test_it_stops_at_the_evaluation_that_exhausts_it(patience: int, best_step: int) -> None:
    end = best_step + patience * EVERY
    stopped = [step for step in range(best_step, TOTAL) if loop(patience, step, best_step).finished]
    assert stopped[0] == end


@pytest.mark.parametrize(("patience", "best_step"), [(None, 3), (2, None), (None, None)])
def test_without_patience_or_a_best_it_goes_on_to_the_end(
    patience: int | None, best_step: int | None
) -> None:
    assert not any(loop(patience, step, best_step).finished for step in range(TOTAL))
    assert loop(patience, TOTAL, best_step).finished
    assert not loop(patience, TOTAL, best_step).stopped_early


# --- a run, whose val accuracies are given -------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path / "run", monkeypatch)


@pytest.mark.parametrize(
    ("patience", "values", "end", "best"),
    [
        (2, (0.1, 0.3, 0.2, 0.3), 12, 6),  # the same again is no better
        (1, (0.1, 0.05), 6, 3),
        (2, (0.1, 0.05, 0.2, 0.1, 0.3, 0.2, 0.1), 21, 15),
        (3, (float("nan"), 0.1, float("nan"), 0.0, 0.1), 15, 6),
        (20, tuple(0.5 for _ in range(10)), TOTAL, 3),
    ],
)
def test_patience_counts_evaluations_since_the_best(
    bench: Bench, tmp_path: Path, patience: int, values: tuple[float, ...], end: int, best: int
) -> None:
    told = bench.train(config(tmp_path, f"patience={patience}"), *values)
    assert bench.tested == [end]
    assert (bench.last["step"], bench.last["best_step"]) == (end, best)
    assert checkpoint.load(bench.folder.best)["step"] == best
    line = (
        f"stopped early at step {end} of {TOTAL}: {patience} evaluations without a better val "
        "accuracy"
    )
    assert (line in told) == (end < TOTAL)
    assert bench.last["pending"] == []
    steps = [json.loads(line) for line in bench.folder.metrics.read_text().splitlines()]
    assert max(row["step"] for row in steps if "train/loss" in row) == end


def test_a_run_that_has_stopped_and_was_killed_before_its_test_stays_stopped(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = config(tmp_path, "patience=2")

    def interrupted(*_: Any) -> None:
        raise Interrupted(2, "before the test")

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "final_test", interrupted)
        with pytest.raises(Interrupted):
            bench.train(asked, 0.3, 0.2, 0.1)
    before = bench.last
    told = bench.train(asked)  # an evaluation would fail
    assert bench.tested == [9]
    assert "resumed at step 9" in told and "stopped early at step 9" in told
    assert bench.last["step"] == before["step"] == 9


@pytest.mark.parametrize("seen", [1, 2, 3])
def test_a_run_that_was_killed_on_the_way_stops_where_it_would_have(
    bench: Bench, tmp_path: Path, seen: int
) -> None:
    """Killed in the middle of an evaluation; the step before it is the last that was saved."""
    asked, values = config(tmp_path, "patience=2"), (0.1, 0.3, 0.2, 0.3)
    with pytest.raises(Killed):
        bench.train(asked, *values[:seen])
    assert bench.last["step"] == EVERY * (seen + 1) - 1
    bench.train(asked, *values[seen:])
    assert bench.tested == [12]


def test_more_patience_lets_a_stopped_run_go_on(bench: Bench, tmp_path: Path) -> None:
    """What has stopped is no state of its own."""
    bench.train(config(tmp_path, "patience=1"), 0.3, 0.2)
    bench.train(config(tmp_path, "patience=2"), 0.1)
    assert bench.tested == [6, 9]


# --- end to end ----------------------------------------------------------------------------------


def test_from_the_command_line(
    dlrun: Callable[..., "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    """With a learning rate of next to nothing, no evaluation is better than the first."""
    result = dlrun(
        "train", "method=supervised", "model=mlp", "model.hidden=[4]", "model.batch_norm=false",
        "optimizer.lr=1e-20", "batch_size=16", "steps=20", "eval_every=2",
        "patience=2", "hardware=cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    told = " ".join(result.stdout.split())
    assert "stopped early at step 6 of 20: 2 evaluations without a better val accuracy" in told
    (path,) = (tmp_path / "outputs").rglob("summary.json")
    summary = json.loads(path.read_text())
    assert (summary["steps"], summary["best"]["step"]) == (6, 2)
    assert json.loads((path.parent / "status.json").read_text())["state"] == "completed"


def nothing(reference: str) -> Pretrained:
    raise AssertionError(reference)


def test_patience_without_a_val_split_is_refused(tmp_path: Path) -> None:
    """It would never run out, and nobody would be told."""
    asked = config(tmp_path, "dataset.val_fraction=0", "patience=2")
    with pytest.raises(UserError, match=r"patience: .*dataset\.val_fraction"):
        assemble(asked, nothing)
