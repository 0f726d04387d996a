"""Studies whose jobs learn nothing.

python studying.py FOLDER TRIALS JOBS PAUSE        works on the study of that folder
"""

import io
import json
import os
import subprocess
import sys
import time
from copy import deepcopy
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import stand_in_job
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import FrozenTrial

from dlrun.config.compose import compose_plain, composer
from dlrun.config.schema import SweepConfig, TuneConfig, check
from dlrun.console import Console
from dlrun.sweeps.objective import Objective
from dlrun.sweeps.plan import Job, Slots, job_folders
from dlrun.sweeps.process import Process, Starter
from dlrun.sweeps.space import read_space
from dlrun.sweeps.study import Study
from dlrun.sweeps.trials import StudyView, Trials

PARSER = OverridesParser.create()
BASE = ["method=supervised", "model=mlp", "hardware=cpu"]
SPACE = ["optimizer.lr=interval(0,1)", "batch_size=choice(16,32)"]
ACCURACY = [Objective("accuracy", True)]
QUICK: dict[str, Any] = {
    "start": Starter((sys.executable, "-S", "-E", stand_in_job.__file__), fork=False),
    "pause": 0.005,
    "look_every": 0.01,
}
"""Of a pool: jobs are the stand-in, and it looks more often."""


def tuned(**given: Any) -> TuneConfig:
    """The section `tune`."""
    values = {"trials": 8, "sampler": "tpe", "pruner": "auto", "objective": None, "timeout": None}
    return TuneConfig(**{**values, "seed": 0, **given})


def opened(
    folder: Path,
    *overrides: str,
    objectives: list[Objective] = ACCURACY,
    described: list[str] | None = None,
    **given: Any,
) -> Study:
    """A study in `folder` over the given space, or SPACE."""
    with composer() as own:
        parsed, problems = own.parse([*BASE, *(overrides or SPACE)], sweep=True, tune=True)
    space, more = read_space(parsed)
    assert problems == more == []
    return Study(folder, space, objectives, tuned(**given), described or ["the same"])


class ShowingTrials(Trials):
    """Tells the stand-in which of its evaluations the pruner has seen."""

    def watch(self, process: Process) -> None:
        metrics = process.job.folder.metrics
        count = metrics.read_text().count("\n") if metrics.exists() else 0
        super().watch(process)
        (process.job.folder.path / "seen").write_text(str(count))


def worked(study: Study, folder: Path, jobs: int = 1, **sweep: Any) -> tuple[Trials, str]:
    """Works on it to its end; what was printed."""
    console = Console(width=200, record=True, file=io.StringIO())
    own: list[Job] = []
    view = StudyView(console, study, own, jobs)
    trials = ShowingTrials(
        study,
        making(study, folder),
        jobs=own,
        slots=Slots(jobs, 1),
        settings=SweepConfig(**({"jobs": jobs, "retry": None, "fail_fast": False} | sweep)),
        view=view,
        began=time.time(),
        **QUICK,
    )
    trials.run()
    console.print(view.title())
    return trials, console.export_text()


def making(study: Study, folder: Path) -> Any:
    """Makes the job of a trial, as the command does."""

    base = compose_plain(BASE, None)

    def make(trial: FrozenTrial) -> Job:
        overrides = study.space.overrides(trial.params)
        plain = deepcopy(base)
        for override in PARSER.parse_overrides(overrides[len(BASE) :]):
            *sections, last = override.key_or_group.split(".")
            reduce(getitem, sections, plain)[last] = override.value()
        config = check(plain)
        with job_folders(folder) as folder_of:
            run = folder_of(config)
        study.record_run(trial.number, run.name)
        label = study.space.label(trial.params)
        return Job(trial.number, overrides, label, config, run, "accuracy")

    return make


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
    folder = Path(sys.argv[1])
    os.environ["STAND_IN_PAUSE"] = sys.argv[4]
    study = opened(folder, trials=int(sys.argv[2]))
    print("open", flush=True)
    _, printed = worked(study, folder, jobs=int(sys.argv[3]))
    print(json.dumps(printed))


if __name__ == "__main__":
    main()
