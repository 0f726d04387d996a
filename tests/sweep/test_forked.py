"""Jobs that are forked from a process with torch in it: the same numbers, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_sweep import SLOW, begin, jobs, starts, state, steps, told, wait_for_steps
from troubled import COMMON, make_troubled, start

from dlrun.config.check import check
from dlrun.config.compose import compose_plain
from dlrun.sweeps import forked
from dlrun.sweeps import process as processes
from dlrun.sweeps.forked import Forked, can_fork
from dlrun.sweeps.plan import plan
from dlrun.sweeps.shares import Shares

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux alone")

TIMED = ("time", "images_per_second")


def forked_from(sweep: int) -> int:
    """The process that the jobs of a sweep's process are forked from."""
    for child in Path(f"/proc/{sweep}/task/{sweep}/children").read_text().split():
        if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("none")


def runs(pid: int) -> bool:
    """Whether there is such a process that is not over."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def finished(job: Forked) -> int:
    deadline = time.monotonic() + 60
    while (code := job.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return code


def test_a_job_trains_as_a_run_of_its_own_does(tmp_path: Path) -> None:
    """To the last digit, and whatever job was forked before it."""
    project = make_troubled(tmp_path)
    asked = [
        *COMMON,
        "steps=6",
        "hardware.threads=1",
    ]
    sweep = begin(project, *asked, "seed=0,1", "sweep.jobs=1")
    out = told(sweep)
    assert sweep.returncode == 0, out
    for job in jobs(project):
        overrides = json.loads((job / "job.json").read_text())["overrides"]
        (seed,) = (text for text in overrides if text.startswith("seed="))
        alone = start(project, "train", *asked, seed, f"outputs=alone/{seed[-1]}")
        out = told(alone)
        assert alone.returncode == 0, out
        (summary,) = (project / "alone" / seed[-1]).rglob("summary.json")
        folder = summary.parent
        logged = [
            [
                {name: value for name, value in json.loads(line).items() if name not in TIMED}
                for line in (where / "metrics.jsonl").read_text().splitlines()
            ]
            for where in (job, folder)
        ]
        assert len(logged[0]) >= 6
        assert logged[0] == logged[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_jobs_are_forked_from_may_be_asked_to_end_or_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Asked, it stays, for it ends with the sweep; killed, its jobs are gone on with."""
    project = make_troubled(tmp_path)
    sweep = begin(project, *SLOW, "steps=20", "seed=0,1,2", "sweep.jobs=2")
    wait_for_steps(project, sweep, count=2, most=18)
    pid = forked_from(sweep.pid)
    os.kill(pid, number)
    out = told(sweep)
    assert sweep.returncode == 0, out
    assert "3 completed" in out.splitlines()
    for job in jobs(project):
        assert state(job) == "completed"
        assert steps(job) == list(range(1, 21))
    most = 1 if number == signal.SIGTERM else 2
    assert max(starts(job) for job in jobs(project)) == most
    deadline = time.monotonic() + 20
    while runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(pid)


def test_asked_to_stop_before_it_has_begun_it_does(tmp_path: Path) -> None:
    """The signal is held back until the job can be told it, and is not lost."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MARK": "here"}
    for _ in range(5):
        job = Forked(tmp_path / "output.txt", environment)
        job.terminate()
        assert finished(job) == -signal.SIGTERM
    assert "MARK" not in os.environ and "PYTHONSAFEPATH" not in os.environ


def test_a_job_whose_sweep_ends_while_it_is_told_what_to_do_ends(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    job = Forked(tmp_path / "output.txt", environment)
    job.stdin.write(b'{"folder": ')
    job.stdin.close()
    assert finished(job) == 128 + signal.SIGTERM


def test_other_threads_or_another_system_take_a_process_from_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forked, "_loaded_with", [])
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert can_fork(one) and can_fork({**one, "OMP_NUM_THREADS": "2"})
    monkeypatch.setattr(forked, "_loaded_with", ["1", "1"])
    assert can_fork(one) and not can_fork({**one, "OMP_NUM_THREADS": "2"})
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not can_fork(one)


def test_a_job_with_a_gpu_or_of_several_processes_starts_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a GPU's driver has begun does not survive a fork."""
    begun = []

    def begin(name: str) -> Callable[[Path, dict[str, str]], "subprocess.Popen[bytes]"]:
        def started(output: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
            begun.append(name)
            return subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)

        return started

    monkeypatch.setattr(processes, "Forked", begin("forked"))
    monkeypatch.setattr(processes, "_started", begin("from nothing"))
    monkeypatch.setattr(processes, "can_fork", lambda environment: True)
    plain = compose_plain(["hardware=cpu"], None)
    two = compose_plain(["hardware=ddp", "hardware.devices=2", "hardware.device=cpu"], None)
    for number, (config, gpus) in enumerate([(plain, ()), (plain, ("0",)), (two, ())]):
        (job,) = plan([([], check(config))], tmp_path / str(number))
        process = processes.Process(job, 0, Shares(1, 1, gpus, ""), config, 0.0)
        while not process.ended():
            time.sleep(0.01)
    assert begun == ["forked", "from nothing", "from nothing"]
