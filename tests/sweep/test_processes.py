"""Jobs of two processes each: a sweep treats them as it does any other job."""

import json
import os
import signal
import time
from pathlib import Path

from project import start
from troubled import (
    COMMON,
    TWO_PROCESSES,
    begin,
    jobs,
    make_troubled,
    output,
    starts,
    state,
    steps,
    wait_for_steps,
)  # fmt: skip

TWO = [*COMMON, *TWO_PROCESSES]


def ended(pid: int) -> bool:
    """Within a few seconds, of a process that is no child of ours."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_process_that_is_killed_ends_its_job_alone(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    command = [*TWO, "steps=4", "method.mode=fine,lost", "sweep.jobs=2"]
    for turn in (1, 2):  # the same command again skips the one and resumes the other
        process = begin(project, *command)
        out = output(process)
        assert process.returncode == 1, out
        assert "1 completed, 1 interrupted" in out.splitlines()
        (lost,) = (job for job in jobs(project) if state(job) == "interrupted")
        (fine,) = (job for job in jobs(project) if state(job) == "completed")
        assert (starts(lost), starts(fine)) == (turn, 1)
    log = (lost / "log.txt").read_text()
    assert "killed by SIGKILL" in log and "another process of this run was lost" in log
    assert "resumed at step 2 of 4" in log
    assert steps(fine) == [1, 2, 3, 4]
    assert json.loads((fine / "job.json").read_text())["threads"] == 1


def test_stopped_or_killed_all_processes_save_and_the_same_command_resumes(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    command = [*TWO, "steps=16", "method.pause=0.2"]
    for number, lines in ((signal.SIGINT, 3), (signal.SIGKILL, 12)):
        process = begin(project, *command)
        wait_for_steps(project, process, count=1, most=20, least=lines)
        (job,) = jobs(project)
        process.send_signal(number)
        out = output(process)
        assert ended(json.loads((job / "status.json").read_text())["pid"])
        assert state(job) == "interrupted" and "stopped at step" in (job / "log.txt").read_text()
        if number == signal.SIGINT:
            assert process.returncode == 130, out
            assert "sweep stopped (1 interrupted); run the same command again to resume it" in out
    process = begin(project, *command)
    out = output(process)
    assert process.returncode == 0, out
    assert steps(job) == list(range(1, 17))
    assert starts(job) == 3


def test_asked_twice_all_processes_of_a_training_stop_at_once(tmp_path: Path) -> None:
    """Through the launcher, which is the only one of them that has the terminal."""
    project = make_troubled(tmp_path)
    process = start(project, "train", *TWO, "steps=300", "method.pause=15")
    try:
        deadline = time.monotonic() + 120
        while not any(project.rglob("metrics.jsonl")):  # it is in its first step or its second
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        (found,) = project.rglob("status.json")
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        out = output(process)
    finally:
        process.kill()
    assert time.monotonic() - asked < 10, out
    assert process.returncode == 130, out
    assert "stopped at once; the last saved checkpoint remains" in out
    assert ended(json.loads(found.read_text())["pid"])


def test_a_batch_that_cannot_be_shared_begins_nothing(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    process = begin(project, *TWO, "batch_size=16,7", "steps=2")
    line = "batch_size: got 7, but 2 processes share a batch; expected a multiple of 2"
    assert output(process).endswith(f"\ndlrun: {line}\n")
    assert process.returncode == 2
    assert not (project / "outputs").exists()
