"""A study whose runs learn nothing: a script that writes what a run would, step by step.

python studying.py FOLDER TRIALS JOBS PAUSE        works on the study of that folder
"""

import io
import json
import subprocess
import sys
import time
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial
from rich.console import Console

from dlrun.config.check import check
from dlrun.config.compose import compose_plain, composer
from dlrun.config.schema import SweepConfig, TuneConfig
from dlrun.sweeps import pool as pools
from dlrun.sweeps import process as processes
from dlrun.sweeps.plan import Job, places
from dlrun.sweeps.shares import Shares
from dlrun.tuning.objective import Objective
from dlrun.tuning.space import read_space
from dlrun.tuning.study import Study
from dlrun.tuning.trials import StudyView, Trials

STEPS = 6
CHILD = """
import fcntl, json, os, signal, sys, time
began = time.time()
order = json.loads(sys.stdin.readline())
folder, lr = order["folder"], order["config"]["optimizer"]["lr"]
pause = float(os.environ["STAND_IN_PAUSE"])
lock = open(folder + "/.lock", "a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(75)
STEPS = 6
try:
    step = json.load(open(folder + "/status.json"))["step"]
except OSError:
    step = 0
def status(state, reason=""):
    with open(folder + "/.status", "w") as file:
        json.dump({"state": state, "step": step, "total": STEPS, "started": began,
                   "heartbeat": time.time(), "pid": os.getpid(), "host": os.uname().nodename,
                   "reason": reason}, file)
    os.replace(folder + "/.status", folder + "/status.json")
open(folder + "/config.yaml", "a")
def seen():
    try:
        return int(open(folder + "/seen").read() or 0)
    except OSError:
        return 0
stop = []
signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
import select
while step < STEPS and not stop:
    if order["overrides"][-1] == "fail" or lr > 0.99:
        status("failed", "ValueError: too high")
        sys.exit(1)
    status("running")
    time.sleep(pause)
    if select.select([0], [], [], 0)[0]:
        stop.append(0)
    step += 1
    with open(folder + "/metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": step, "time": 0.0, "val/accuracy": round(
            (1 - (lr - 0.3) ** 2) * step / (step + 1), 9), "val/kl": lr}) + "\\n")
    status("running")
    while not stop and seen() < step:  # so that no trial outruns its pruner on a busy machine
        if select.select([0], [], [], 0.005)[0]:
            stop.append(0)
if stop:
    status("interrupted", "stopped, saved")
    sys.exit(143)
with open(folder + "/summary.json", "w") as file:
    value = (1 - (lr - 0.3) ** 2) * step / (step + 1)
    json.dump({"key_metric": "accuracy", "best": {"val": value, "step": STEPS}, "seconds": lr},
              file)
status("completed")
"""

PARSER = OverridesParser.create()
BASE = ["method=supervised", "model=mlp", "hardware=cpu"]
SPACE = ["optimizer.lr=interval(0,1)", "batch_size=choice(16,32)"]
ACCURACY = [Objective("accuracy", True)]


def curve(lr: float) -> list[float]:
    """What a run with that learning rate measures."""
    return [round((1 - (lr - 0.3) ** 2) * step / (step + 1), 9) for step in range(1, STEPS + 1)]


def tuned(**asked: Any) -> TuneConfig:
    """The section `tune`."""
    values = {"trials": 8, "sampler": "tpe", "pruner": "auto", "objective": None, "timeout": None}
    return TuneConfig(**{**values, "seed": 0, **asked})


def opened(
    folder: Path,
    *overrides: str,
    objectives: list[Objective] = ACCURACY,
    described: list[str] | None = None,
    **asked: Any,
) -> Study:
    """A study in `folder` over the given space, or SPACE."""
    with composer() as own:
        space, problems = read_space([*BASE, *(overrides or SPACE)], own.loader)
    assert problems == []
    return Study(folder, space, objectives, tuned(**asked), described or ["the same"])


def worked(study: Study, folder: Path, jobs: int = 1, **sweep: Any) -> tuple[Trials, str]:
    """Works on it to its end; what was printed."""
    console = Console(width=200, record=True, file=io.StringIO())
    shares = Shares(jobs, 1, (), "")
    own: list[Job] = []
    view = StudyView(console, study, own, jobs)
    settings = SweepConfig(**({"jobs": jobs, "retry": None, "fail_fast": False} | sweep))
    trials = Trials(study, own, placing(study, folder), shares, settings, view, time.time())
    trials.run()
    console.print(view._title())
    return trials, console.export_text()


def placing(study: Study, folder: Path) -> Any:
    """Makes the job of a trial, as the command does."""

    base = compose_plain(BASE, None)

    def place(trial: FrozenTrial) -> Job:
        overrides = study.space.overrides(trial.params)
        plain = deepcopy(base)
        for override in PARSER.parse_overrides(overrides[len(BASE) :]):
            *sections, last = override.key_or_group.split(".")
            reduce(getitem, sections, plain)[last] = override.value()
        config = check(plain)
        with places(folder) as placed:
            run = placed(config)
        study.keep_run(trial.number, run.name)
        label = study.space.label(trial.params)
        return Job(trial.number, overrides, label, config, run, "accuracy")

    return place


def stand_in(folder: Path, patch: Any = setattr) -> None:
    """Has jobs be the script, and the pool look more often."""
    script = folder / "child.py"
    script.write_text(CHILD)
    patch(processes, "COMMAND", (sys.executable, "-S", "-E", str(script)))
    patch(processes, "can_fork", lambda environment: False)
    patch(pools, "_PAUSE", 0.005)
    patch(pools, "_LOOK_EVERY", 0.01)
    patch(Trials, "watch", _watch)


_watched = Trials.watch


def _watch(trials: Trials, process: processes.Process) -> None:
    """As ever, and tells the script which of its evaluations the pruner has seen."""
    metrics = process.job.folder.metrics
    count = metrics.read_text().count("\n") if metrics.exists() else 0
    _watched(trials, process)
    (process.job.folder.path / "seen").write_text(str(count))


def wait_for(folder: Path, process: "subprocess.Popen[str]", lines: int) -> None:
    """Until the runs have logged so many lines."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if sum(path.read_text().count("\n") for path in folder.glob("*/metrics.jsonl")) >= lines:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    raise AssertionError("nothing logged within two minutes")


def logged(folder: Path, name: str) -> dict[str, list[int]]:
    """The steps at which each run has logged a metric."""
    found = {}
    for path in folder.glob("*/metrics.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found[path.parent.name] = [row["step"] for row in rows if name in row]
    return found


def main() -> None:
    """In a process of its own, for those that are killed or work together."""
    import os

    folder = Path(sys.argv[1])
    os.environ["STAND_IN_PAUSE"] = sys.argv[4]
    stand_in(folder.parent.parent)
    study = opened(folder, trials=int(sys.argv[2]))
    print("open", flush=True)
    _, told = worked(study, folder, jobs=int(sys.argv[3]))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
