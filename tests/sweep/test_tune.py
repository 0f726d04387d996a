"""`dlrun tune` as a user types it: its mistakes, and a real study, killed and resumed."""

import json
import re
import shlex
import signal
import sys
from pathlib import Path

import pytest
from project import start
from studying import logged, wait_for
from troubled import COMMON, make_troubled, output

from dlrun.cli import run
from dlrun.config.compose import compose_plain
from dlrun.errors import ConfigError, UserError

SPACE = ["optimizer.lr=interval(1e-3,1e-1)", "method.beta=choice(.5,1)"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        run(["tune", *overrides])
    assert not Path("outputs").exists()
    return refusal.value.problems


def test_every_mistake_is_reported_before_anything_starts() -> None:
    assert refused(
        "method=vae", "optimizer.lr=interval(0,1)", "method.beta=choice(1,fast)", "epoch=1,2",
        "steps=int(interval(-1,5))", "name=a,b", "tune.trials=0", "sweep.jobs=0",
        "hydra/launcher=ray",
    ) == [
        "name=a,b: does not change what a run computes, so it is not searched",
        "hydra/launcher=ray: trials are processes of this machine; to use another one, run the "
        "same command there, in the same shared folder",
        "tune.trials: got 0, expected an integer >= 1",
        "sweep.jobs: got 0, expected an integer >= 1 or auto",
        "epoch: unknown key. Did you mean epochs?",
        "optimizer.lr: got 0.0, expected a number > 0",
        "steps: got -1, expected an integer >= 1 or null",
        "method.beta: got fast, expected a number >= 0",
    ]  # fmt: skip


def test_what_does_not_go_together() -> None:
    assert refused(*SPACE, "tune.objective=[negative_elbo,seconds]", "tune.pruner=median",
                   "tune.sampler=grid") == [
        "tune.pruner=median: a pruner needs one objective, a metric of val; expected auto or none",
        "tune.sampler=grid: an interval has no last point; expected choices and ranges",
    ]  # fmt: skip
    assert refused("method=vae,autoencoder", "tune.trials=2")[0].startswith(
        "tune.objective: the methods have different metrics: negative_elbo, reconstruction_error; "
        "name one, such as tune.objective=negative_elbo"
    )
    assert refused("epochs=3")[0].startswith("nothing to search")
    assert refused("optimizer.lr=choice()") == [
        "optimizer.lr=choice(): not understood; expected choice(a,b,...) with at least one value"
    ]
    assert refused(*SPACE, "hardware=cpu", "hardware.devices=3", "batch_size=64") == [
        "batch_size: got 64, but 3 processes share a batch; expected a multiple of 3"
    ]


def test_without_optuna_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"needs Optuna: pip install 'dlrun\[tune\]'"):
        run(["tune", *SPACE])


def test_its_keys_are_of_no_training() -> None:
    with pytest.raises(ConfigError, match="only valid in a study; begin with dlrun tune"):
        run(["train", "tune.trials=3"])
    with pytest.raises(ConfigError, match="only valid in a study; begin with dlrun tune"):
        run(["train", "-m", "seed=0,1", "tune.trials=3"])
    with pytest.raises(ConfigError, match=r"dlrun tune searches an interval"):
        run(["train", "-m", "optimizer.lr=interval(1e-3,1)"])


def test_a_study_is_interrupted_then_killed_and_resumed_to_its_end(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    fixed = [*COMMON, "steps=10", "eval_every=2"]
    typed = ["tune", *fixed, *SPACE, "tune.trials=3", "sweep.jobs=2", "name=study"]
    study = project / "outputs" / "sweeps" / "study"
    for number, lines in ((signal.SIGINT, 6), (signal.SIGKILL, 18)):
        process = start(project, *typed, "method.pause=0.3")
        wait_for(study, process, lines)
        process.send_signal(number)
        out = output(process)
        assert process.returncode == (130 if number == signal.SIGINT else -9), out
        assert "Traceback" not in out
    process = start(project, *typed, "method.pause=0.3")
    out = output(process)
    assert process.returncode == 0, out
    runs = logged(study, "train/loss")
    assert len(runs) == 3
    assert all(steps == list(range(1, len(steps) + 1)) for steps in runs.values())
    assert "\n3 trials: 3 completed\n" in out
    best = re.search(r"best: trial (\d), val negative_elbo (\S+)\n  (dlrun train .*)\n", out)
    assert best is not None, out
    summaries = {
        path.parent.name: json.loads(path.read_text())["best"]["val"]
        for path in study.glob("*/summary.json")
    }
    name, value = min(summaries.items(), key=lambda item: item[1])
    assert f"{value:.4g}" == best[2]
    from dlrun.runs.folder import RunFolder

    given = shlex.split(best[3])[2:]
    assert given.pop() == "hardware.threads=1"  # its share of the machine, which sums depend on
    trial = ["name=study", "method.likelihood_draws=0"]
    recorded = RunFolder(study / name).read_config()
    assert compose_plain([*given, *trial], str(project / "conf")) == recorded
    assert (study / "history.png").exists()


def test_what_failed_or_was_killed_is_named_and_the_exit_code_tells(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    typed = ["tune", *COMMON, "steps=8", "method.mode=fine,raise,kill", "tune.sampler=grid"]
    process = start(project, *typed, "name=study")
    out = output(process)
    assert process.returncode == 1 and "Traceback" not in out
    assert "\n3 trials: 1 completed, 1 interrupted, 1 failed\n" in out
    ends = out.partition("3 trials: 1 completed")[2]
    failed = r"trial \d failed: method.mode=raise: few.py:\d+: RuntimeError: as it was asked to"
    assert re.search(failed, ends)
    assert re.search(r"trial \d interrupted: method.mode=kill: killed by SIGKILL", ends)
    assert "method.mode=fine" in ends  # the best command
