"""Sweeps by other launchers, really by Ray and submitit, beside the same sweeps by our own.

Skipped where their packages are not installed; they are no part of dlrun[dev].
"""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from troubled import COMMON, TWO_PROCESSES, begin, jobs, make_troubled, output, state, steps

SWEEP = [*COMMON, "steps=8", "seed=0,1"]


def needs(module: str, extra: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        find_spec(module) is None, reason=f"no {module}: pip install 'dlrun[{extra}]'"
    )


LAUNCHERS = [
    pytest.param(
        ["hydra/launcher=ray"],
        marks=needs("ray", "ray"), id="ray",
    ),
    pytest.param(
        ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10"],
        marks=needs("submitit", "slurm"), id="submitit_local",
    ),
]  # fmt: skip


def results(project: Path) -> dict[str, Any]:
    """Of each job, by the signature that names its folder: every loss, and the whole test."""
    found = {}
    for job in jobs(project):
        rows = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
        summary = json.loads((job / "summary.json").read_text())
        values = [row["train/loss"] for row in rows if "train/loss" in row]
        found[job.name] = values, summary["best"], summary["test"]
    return found


def swept(folder: Path, *overrides: str, code: int = 0) -> tuple[Path, str]:
    folder.mkdir(exist_ok=True)
    project = folder if (folder / "few.py").exists() else make_troubled(folder)
    process = begin(project, *overrides)
    out = output(process)
    assert process.returncode == code, out
    return project, out


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_elsewhere_compute_what_our_own_do(tmp_path: Path, launcher: list[str]) -> None:
    here, _ = swept(tmp_path / "here", *SWEEP)
    there, out = swept(tmp_path / "there", *SWEEP, *launcher)
    assert "2 completed" in out.splitlines()
    assert len(results(here)) == 2
    assert results(there) == results(here)
    _, again = swept(there, *SWEEP)  # the launcher has no part in what is computed
    assert again.count("completed before") == 2


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_failed_job_elsewhere_is_reported_and_the_other_continues(
    tmp_path: Path, launcher: list[str]
) -> None:
    command = [*COMMON, "steps=4", "method.mode=fine,raise"]
    project, out = swept(tmp_path / "project", *command, *launcher, code=1)
    assert "1 completed, 1 failed" in out.splitlines()
    (failed,) = (job for job in jobs(project) if state(job) == "failed")
    assert "RuntimeError: as it was asked to" in (failed / "log.txt").read_text()


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_jobs_of_two_processes_elsewhere(tmp_path: Path, launcher: list[str]) -> None:
    two = [*COMMON, *TWO_PROCESSES, "steps=4", "method.mode=fine,lost"]
    project, out = swept(tmp_path / "project", *two, *launcher, code=1)
    by_state = {state(job): job for job in jobs(project)}
    assert by_state.keys() == {"completed", "interrupted"}, out
    assert "1 completed, 1 interrupted" in out.splitlines()
    assert steps(by_state["completed"]) == [1, 2, 3, 4]
    assert "killed by SIGKILL" in (by_state["interrupted"] / "log.txt").read_text()
