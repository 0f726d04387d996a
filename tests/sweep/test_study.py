"""Studies with jobs that learn nothing: what is drawn, pruned, resumed and shared."""

import io
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import studying
from optuna.trial import FrozenTrial, TrialState
from stand_in_job import curve
from studying import logged, opened, wait_for, worked

from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.sweeps.objective import Objective
from dlrun.sweeps.outcome import command, draw_study, history, importances, report_study
from dlrun.sweeps.study import JOURNAL, Study, repair, sampler
from dlrun.sweeps.trials import StudyView, counts

COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN_PAUSE", "0.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sweeps" / "named study"


def by_hand(study: Study, count: int) -> optuna.Study:
    """The same in a plain loop of Optuna's, without processes, files or folders."""
    twin = optuna.create_study(
        study_name=study.optuna.study_name,
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(),
    )
    for number in range(count):
        twin.sampler = sampler(study.settings, study.space, number)
        trial = twin.ask()
        lr = trial.suggest_float("optimizer.lr", 0, 1)
        trial.suggest_categorical("batch_size", ("16", "32"))
        for place, value in enumerate(curve(lr), 1):
            trial.report(value, place)
            if place < len(curve(lr)) and trial.should_prune():
                twin.tell(trial, state=PRUNED)
                break
        else:
            twin.tell(trial, curve(lr)[-1])
    return twin


def test_it_draws_and_prunes_as_optuna_does_by_hand(folder: Path) -> None:
    study = opened(folder, trials=12)
    trials, printed = worked(study, folder)
    twin = by_hand(study, 12)
    assert PRUNED in [trial.state for trial in twin.trials]
    for trial, other in zip(study.trials(), twin.trials, strict=True):
        assert trial.params == other.params
        assert trial.state == other.state
        assert trial.intermediate_values == other.intermediate_values
        assert trial.values == pytest.approx(other.values)
    for job, trial in zip(trials.jobs, twin.trials, strict=True):
        status = json.loads(job.folder.status.read_text())
        assert (status["state"] == "pruned") == (trial.state == PRUNED)
        if trial.state == PRUNED:
            assert f"at step {trial.last_step} of 6, stopped by the median pruner" in job.reason
            assert status["reason"] == job.reason
            assert status["step"] < 6
    assert "study of 12 trials" in printed and f"best val accuracy {twin.best_value:.4g}" in printed


def test_a_study_continues_as_if_it_had_not_stopped(folder: Path) -> None:
    worked(opened(folder, trials=5, pruner="none"), folder)
    study = opened(folder, trials=9, pruner="none")
    trials, _ = worked(study, folder)
    assert [job.number for job in trials.jobs] == [5, 6, 7, 8]
    whole = opened(folder.parent / "whole", trials=9, pruner="none")
    worked(whole, folder.parent / "whole")
    assert [t.params for t in study.trials()] == [t.params for t in whole.trials()]


def test_the_same_values_again_take_the_finished_run(folder: Path) -> None:
    study = opened(folder, "batch_size=choice(16,32)", trials=6, pruner="none")
    trials, printed = worked(study, folder, jobs=2)
    assert len(study.complete()) == 6 and printed.count("started") == 2
    assert printed.count(" completed before:") + printed.count(" completed:") == 6
    assert len({job.folder.path for job in trials.jobs}) == 2
    assert len(study.ranked()) == 2


def test_a_grid_takes_each_point_once_and_ends(folder: Path) -> None:
    study = opened(
        folder, "optimizer.lr=range(0.1,0.35,0.1)", "batch_size=16,32", trials=40, sampler="grid",
        pruner="none",
    )  # fmt: skip
    worked(study, folder, jobs=3)
    points = [tuple(sorted(trial.params.items())) for trial in study.trials()]
    assert study.total == len(points) == len(set(points)) == 6
    typed = [study.space.overrides(trial.params)[3] for trial in study.trials()]
    assert set(typed) == {f"optimizer.lr={v}" for v in ("0.1", "0.2", "0.30000000000000004")}
    assert worked(study, folder)[0].jobs == []


def test_a_failed_trial_is_reported_and_tried_again_when_asked(folder: Path) -> None:
    study = opened(folder, "optimizer.lr=0.5,1.0", trials=2, sampler="grid")
    trials, _ = worked(study, folder)
    failed = [job for job in trials.jobs if job.state == "failed"]
    assert [job.reason for job in failed] == ["ValueError: too high"]
    number = failed[0].number
    assert study.trial(number).user_attrs["reason"] == "ValueError: too high"
    assert len(study.complete()) == 1
    assert worked(study, folder)[0].jobs == []
    study.try_again()
    again, _ = worked(study, folder, retry="failed")
    assert [job.overrides for job in again.jobs] == [failed[0].overrides]
    assert len(study.trials()) == 2 and len(study.optuna.trials) == 3


def test_a_study_without_a_complete_trial_says_so(folder: Path) -> None:
    study = opened(folder, "optimizer.lr=0.995,1.0", trials=2, sampler="grid")
    trials, _ = worked(study, folder)
    console = Console(record=True, file=io.StringIO())
    report_study(study, trials.jobs, console, None)
    lines = console.export_text().splitlines()
    assert lines[0] == "2 trials: 2 failed"
    assert lines[1].startswith("trial 0 failed: optimizer.lr=") and "too high" in lines[1]
    assert lines[-1] == "no trial is completed, so none is best"


def dies(study: Study) -> None:
    """As the end of its process does, the kernel lets go of its lock."""
    study._alive.release()


def drawn(study: Study) -> tuple[FrozenTrial, RunFolder]:
    """The next trial, and the folder that it would have."""
    trial, _ = study.next(set(range(study.total)), more=True)
    assert trial is not None
    study.record_run(trial.number, f"run{trial.number}")
    return trial, RunFolder(study.folder / f"run{trial.number}")


def test_the_states_of_trials_that_others_work_on(folder: Path) -> None:
    study, other = opened(folder, trials=5), opened(folder, trials=5)
    first, _ = drawn(other)
    drawn(other)
    other.tell(first.number, COMPLETE, [0.5])
    assert counts(study, []) == {"completed": 1, "elsewhere": 1, "waiting": 3}
    dies(other)
    assert counts(study, []) == {"completed": 1, "interrupted": 1, "waiting": 3}

    shown = io.StringIO()
    console = Console(file=shown, width=100, force_terminal=True, color_system=None)
    with StudyView(console, study, [], 2) as view:
        time.sleep(0.3)  # it is not drawn more often
        view.refresh()
    heading = "study of 5 trials: 1 completed, 1 interrupted, 3 not started; best val accuracy 0.5"
    assert heading in shown.getvalue()  # in one line, wider than the table below it


def test_several_objectives_give_a_front(folder: Path) -> None:
    both = [Objective("accuracy", True), Objective("seconds", False)]  # the latter is lr
    study = opened(folder, objectives=both, trials=8, sampler="nsga2")
    worked(study, folder, jobs=2)
    assert study.pruner == "none" and len(study.complete()) == 8
    rates = [trial.params["optimizer.lr"] for trial in study.trials()]
    values = [(curve(lr)[-1], lr) for lr in rates]
    front = [
        own for own in values
        if not any(a >= own[0] and s <= own[1] and (a, s) != own for a, s in values)
    ]  # fmt: skip
    found = [trial.values for trial in study.ranked()]
    assert sorted(map(tuple, found)) == sorted(front)
    assert [path.name for path in draw_study(study)] == ["front.png"]
    assert (folder / "front.png").stat().st_size > 1000


def test_an_objective_that_no_run_measures_ends_the_study(folder: Path) -> None:
    study = opened(folder, objectives=[Objective("acuracy", True)], trials=3)
    with pytest.raises(UserError, match=r"acuracy: .* it measures accuracy, kl"):
        worked(study, folder)


def test_one_folder_has_one_study(folder: Path) -> None:
    opened(folder, described=["epochs=1", "method=vae"])
    with pytest.raises(UserError, match=r"with epochs=1 instead of epochs=2; give another"):
        opened(folder, described=["epochs=2", "method=vae"])


def test_a_trial_whose_process_died_is_taken_over_once(folder: Path) -> None:
    study, other, third = (opened(folder, trials=3) for _ in range(3))
    asked, _ = study.next(set(), more=True)
    assert asked is not None
    bare = study.optuna.ask()  # its process died before anything was drawn
    assert other.next(set(), more=False) == (None, True)
    assert [trial.number for trial in study.trials()] == [asked.number]  # the bare one is discarded
    dies(study)
    taken, _ = other.next(set(), more=False)
    assert taken is not None and taken.number == asked.number and taken.params == asked.params
    assert third.next(set(), more=False) == (None, True)
    assert other.next({asked.number}, more=False) == (None, False)
    further, _ = other.next({asked.number}, more=True)
    assert further is not None and further.number == bare.number + 1
    other.tell(asked.number, COMPLETE, [0.5])
    third.tell(asked.number, COMPLETE, [0.7])  # comes second
    assert study.trial(asked.number).values == [0.5]


def test_a_journal_whose_last_line_was_cut_off_is_repaired(folder: Path) -> None:
    study = opened(folder)
    study.next(set(), more=True)
    journal = folder / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"wor')
    again = opened(folder)
    assert journal.read_bytes().startswith(whole)
    assert all(map(json.loads, journal.read_text().splitlines()))
    again.next({0}, more=True)
    assert [trial.number for trial in opened(folder).trials()] == [0, 1]
    repair(folder / "no such file")


def test_importances_need_enough_trials(folder: Path) -> None:
    study = opened(folder, trials=30)
    for _ in range(30):
        trial, _ = study.next(set(range(30)), more=True)
        assert trial is not None
        if trial.number == 9:
            assert importances(study) == {}
        study.tell(trial.number, COMPLETE, [curve(trial.params["optimizer.lr"])[-1]])
    (found,) = importances(study).values()
    assert math.isclose(sum(found.values()), 1)
    assert next(iter(found)) == "optimizer.lr"
    drawn = [path.name for path in draw_study(study)]
    assert drawn == ["history.png", "importance-accuracy.png"]
    reached, best = (curve.mean for curve in history(study))
    assert best == [max(reached[: i + 1]) for i in range(30)]


def test_the_command_of_a_trial_gives_its_config(folder: Path) -> None:
    import shlex

    from dlrun.config.compose import compose_plain

    study = opened(
        folder, "optimizer.lr=interval(1e-4,1)", "model.hidden=[8],[16,8]", "name='a b'",
        "augment=none,flip", trials=3,
    )  # fmt: skip
    for threads, said in ((None, "auto"), (3, "auto"), (3, 2)):
        trial, run = drawn(study)
        if threads is not None:
            run.path.mkdir()
            run.config.write_text(f"method: {{name: mine}}\nhardware: {{threads: {said}}}")
            (run.path / "job.json").write_text(json.dumps({"threads": threads}))
        typed = shlex.split(command(study, study.trial(trial.number)))
        assert typed[:2] == ["dlrun", "train"]
        if threads == 3 and said == "auto":
            assert typed.pop() == "hardware.threads=3"
        plain = compose_plain(typed[2:], None)
        own = compose_plain(study.space.overrides(trial.params), None)
        assert plain == own | {"name": None}
        assert plain["optimizer"]["lr"] == trial.params["optimizer.lr"]


# --- in processes of their own ------------------------------------------------------------------


def begin(folder: Path, trials: int, jobs: int, pause: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, studying.__file__, str(folder), str(trials), str(jobs), str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_and_run_again_nothing_is_done_twice(folder: Path) -> None:
    first = begin(folder, trials=6, jobs=2, pause=0.1)
    wait_for(folder, first, lines=9)  # the second pair runs
    first.kill()
    first.wait()
    second = begin(folder, trials=6, jobs=2, pause=0.02)
    out = second.communicate(timeout=120)[0]
    assert second.returncode == 0, out
    study = opened(folder, trials=6)
    assert len(study.trials()) == 6
    assert {trial.state for trial in study.trials()} <= {COMPLETE, PRUNED}
    for name, steps in logged(folder, "val/accuracy").items():
        assert steps == list(range(1, len(steps) + 1)), name  # no step twice, none left out
    assert len(logged(folder, "val/accuracy")) == 6


def test_two_processes_share_a_study_and_one_that_is_killed_is_replaced(folder: Path) -> None:
    both = [begin(folder, trials=8, jobs=1, pause=0.1) for _ in range(2)]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
    wait_for(folder, both[0], lines=8)
    both[1].kill()
    both[1].wait()
    out = both[0].communicate(timeout=120)[0]
    assert both[0].returncode == 0, out
    study = opened(folder, trials=8)
    assert [trial.number for trial in study.trials()] == list(range(8))
    assert {trial.state for trial in study.trials()} <= {COMPLETE, PRUNED}
    steps = logged(folder, "val/accuracy")
    assert len(steps) == 8
    assert all(own == list(range(1, len(own) + 1)) for own in steps.values())
    complete = [trial for trial in study.trials() if trial.state == COMPLETE]
    assert all(steps[t.user_attrs["run"]][-1] == 6 for t in complete)
