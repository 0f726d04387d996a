"""How a job's process starts: forked or fresh, the same numbers, and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pytest
from project import only_run, start
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

from dlrun.config.compose import compose_plain
from dlrun.config.schema import check
from dlrun.runs.folder import RunFolder
from dlrun.runs.status import StatusWriter
from dlrun.sweeps.plan import Slots, plan
from dlrun.sweeps.process import Fresh, Process, Starter
from dlrun.sweeps.worker import Spec

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")

TIMED = ("time", "images_per_second")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def servers(sweep: int) -> list[psutil.Process]:
    """The fork servers of a sweep's process."""
    children = psutil.Process(sweep).children()
    return [child for child in children if "forkserver" in " ".join(child.cmdline())]


def exit_code(job: Fresh | BaseProcess) -> int:
    deadline = time.monotonic() + 60
    while (code := job.exitcode) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return code


def spec(folder: Path) -> Spec:
    return {
        "folder": str(folder), "config": {}, "overrides": [], "devices": 1, "began": 0.0,
        "threads": 1, "token": "",
    }  # fmt: skip


def test_a_job_trains_as_a_run_of_its_own_does(tmp_path: Path) -> None:
    """To the last digit, and whatever job was forked before it."""
    project = make_troubled(tmp_path)
    asked = [*COMMON, "steps=6", "hardware.threads=1"]
    sweep = begin(project, *asked, "seed=0,1", "sweep.jobs=1")
    out = output(sweep)
    assert sweep.returncode == 0, out
    alone = start(project, "train", *asked, "seed=1", "outputs=alone")
    out = output(alone)
    assert alone.returncode == 0, out
    (second,) = (job for job in jobs(project) if "seed=1" in (job / "job.json").read_text())
    logged = [
        [
            {name: value for name, value in json.loads(line).items() if name not in TIMED}
            for line in (where / "metrics.jsonl").read_text().splitlines()
        ]
        for where in (second, only_run(project / "alone"))
    ]
    assert len(logged[0]) >= 6
    assert logged[0] == logged[1]


def test_jobs_whose_fork_server_was_killed_are_resumed(tmp_path: Path) -> None:
    project = make_troubled(tmp_path)
    sweep = begin(project, *SLOW, "steps=10", "seed=0,1,2", "sweep.jobs=2")
    wait_for_steps(project, sweep, count=2, most=9)
    (server,) = servers(sweep.pid)
    server.kill()
    out = output(sweep)
    assert sweep.returncode == 0, out
    assert "3 completed" in out.splitlines()
    for job in jobs(project):
        assert state(job) == "completed"
        assert steps(job) == list(range(1, 11))
        assert starts(job) <= 2
    assert not server.is_running()


def test_a_long_path_for_temporary_files_takes_fresh_interpreters(tmp_path: Path) -> None:
    """A socket's path has at most about 100 characters."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    code = (
        "import os, sys; from pathlib import Path; from dlrun.sweeps.process import Starter\n"
        "start = Starter((sys.executable, '-c', 'print(input())'))\n"
        "job = start({'folder': 'x'}, Path('output.txt'), dict(os.environ), fresh=False)\n"
        "print(type(job).__name__, job.wait(60))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "TMPDIR": str(folder)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("Fresh 0\n", "")
    assert (tmp_path / "output.txt").read_text() == '{"folder": "x"}\n'


def test_asked_to_stop_before_it_has_begun_it_does(tmp_path: Path) -> None:
    starter, environment = Starter(), {**os.environ, **ONE_THREAD, "MARK": "here"}
    for _ in range(5):
        job = starter(spec(tmp_path), tmp_path / "output.txt", environment, fresh=False)
        job.terminate()
        assert exit_code(job) == -signal.SIGTERM
    assert "MARK" not in os.environ and "PYTHONSAFEPATH" not in os.environ


def test_a_job_whose_sweep_dies_while_it_writes_the_specification_ends() -> None:
    done = subprocess.run(Starter().command, input=b'{"folder": ', check=False)
    assert done.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("state", ["completed", "failed"])
def test_a_job_that_another_sweep_has_just_ended_is_left_to_it(tmp_path: Path, state: Any) -> None:
    folder = RunFolder(tmp_path)
    StatusWriter(folder, 3, 3).end(state)
    typed = json.dumps(spec(tmp_path)).encode() + b"\n"
    done = subprocess.run(Starter().command, input=typed, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_which_jobs_are_forked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those with as many threads as the first, unless they need an interpreter of their own."""
    for name in ONE_THREAD:
        monkeypatch.delenv(name, raising=False)
    begun = []

    class Recorder(Starter):
        def __call__(self, *given: Any) -> Any:
            _, _, environment, fresh = given
            begun.append((environment["OMP_NUM_THREADS"], fresh))

    plain = compose_plain(["hardware=cpu"], None)
    two = compose_plain(["hardware=ddp", "hardware.devices=2", "hardware.device=cpu"], None)
    for number, (config, gpus) in enumerate([(plain, ()), (plain, ("0",)), (two, ())]):
        (job,) = plan([([], check(config))], tmp_path / str(number))
        Process(job, 0, Slots(1, 4, gpus), 0.0, Recorder())
    assert begun == [("4", False), ("4", True), ("2", True)]

    done = tmp_path / "done"  # a job that has ended does nothing
    done.mkdir()
    StatusWriter(RunFolder(done), 3, 3).end("completed")
    ignores = (sys.executable, "-c", "")
    for starter, threads, fresh, forked in (
        (forking := Starter(ignores), "1", False, True),
        (forking, "1", False, True),
        (forking, "2", False, False),
        (forking, "1", True, False),
        (Starter(ignores, fork=False), "1", False, False),
    ):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        job = starter(spec(done), tmp_path / "output.txt", environment, fresh)
        assert isinstance(job, Fresh) != forked
        assert exit_code(job) == 0
