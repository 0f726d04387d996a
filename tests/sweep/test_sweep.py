"""Sweeps in real processes: interrupted, killed, two at once."""

import re
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from troubled import (
    COMMON,
    SLOW,
    begin,
    jobs,
    make_troubled,
    output,
    starts,
    state,
    steps,
    wait_for_steps,
)  # fmt: skip


def test_the_sweep_is_killed_and_the_same_command_resumes_it(tmp_path: Path) -> None:
    """Its jobs notice, save and stop; the second sweep begins while they still do so."""
    project = make_troubled(tmp_path)
    command = [*SLOW, "steps=14", "seed=0,1"]
    first = begin(project, *command, "sweep.jobs=2")
    wait_for_steps(project, first, count=2, most=12)
    first.kill()
    first.wait()
    second = begin(project, *command, "sweep.jobs=2")
    out = output(second)
    assert second.returncode == 0, out
    assert len(jobs(project)) == 2
    for job in jobs(project):
        assert state(job) == "completed"
        assert steps(job) == list(range(1, 15))
        assert starts(job) == 2
        assert "stopped at step" in (job / "log.txt").read_text()
    assert re.search("│ seed=0 +│ completed +│ val negative_elbo", out)
    assert "2 completed" in out.splitlines()


def test_interrupted_it_saves_what_runs_and_begins_nothing_more(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    process = begin(project, *SLOW, "steps=300", "seed=0,1", "sweep.jobs=1")
    wait_for_steps(project, process, count=1, most=200)
    process.send_signal(signal.SIGINT)
    out = output(process)
    assert process.returncode == 130, out
    (job,) = jobs(project)
    assert state(job) == "interrupted"
    reached = re.search(r"stopped at step (\d+), saved", (job / "log.txt").read_text())
    assert reached and int(reached[1]) >= 3
    assert "sweep stopped (1 interrupted, 1 not started); run the same command again" in out
    assert "Traceback" not in out


def test_asked_to_end_while_it_begins_it_says_so(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    process = begin(project, *SLOW, "steps=300", "seed=0,1", "sweep.jobs=1")
    deadline = time.monotonic() + 60
    while not (project / "outputs").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.terminate()
    out = output(process)
    assert process.returncode == 143, out
    assert out.splitlines()[-1].startswith(("dlrun: stopped by SIGTERM", "dlrun: sweep stopped"))


def test_two_sweeps_at_once_share_the_jobs_that_both_have(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    fine = [*COMMON, "steps=8", "sweep.jobs=1"]
    both = [begin(project, *fine, "seed=0,1"), begin(project, *fine, "seed=0,2")]
    outs = [output(process) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert len(jobs(project)) == 3
    assert [starts(job) for job in jobs(project)] == [1, 1, 1]
    assert all("2 completed" in out.splitlines() for out in outs), outs
    assert sum(
        "being trained by another process" in out or "completed before" in out for out in outs
    ), outs


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("sweep.jobs=0", "sweep.jobs: got 0, expected an integer >= 1 or auto"),
        ("sweep.retry=all", "sweep.retry: got all, expected failed or null"),
        pytest.param(
            "hydra/launcher=ray",
            "hydra/launcher=ray needs pip install 'dlrun[ray]'",
            marks=pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed"),
        ),
    ],
)
def test_wrong_settings(tmp_path: Path, given: str, line: str) -> None:
    process = begin(tmp_path, "seed=0,1", given)
    assert output(process) == f"dlrun: {line}\n"
    assert process.returncode == 2
    assert not (tmp_path / "outputs").exists()
