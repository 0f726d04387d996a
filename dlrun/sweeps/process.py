"""One job of a sweep in a process of its own, seen from the sweep."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlrun.files import read_json, write_json
from dlrun.runs.status import State, note_end, read_status
from dlrun.sweeps.forked import LOST, Forked, can_fork
from dlrun.sweeps.plan import Job
from dlrun.sweeps.shares import Shares, memory_kills, processes

# -P: as for the console script, a random.py in the user's folder is not taken for Python's own.
MODULE = ("-P", "-X", "faulthandler", "-m", "dlrun.commands.job")
"""Of Python: a job, or one of the processes that train a job together."""
COMMAND = (sys.executable, *MODULE)
BUSY = 75
"""The exit code of a job that another process has begun in the same instant (EX_TEMPFAIL)."""
_TAIL = 20_000  # bytes of metrics.jsonl that are looked at
# Sent by somebody from outside: the job itself is in order and can be gone on with.
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")


class Process:
    """Starts a job; `place` is the share of the machine that it has until it ends.

    Its standard input stays open and is never written to again: a job reads the end of it when the
    sweep is no more, however that came, and then saves and stops by itself.
    """

    def __init__(self, job: Job, place: int, shares: Shares, plain: dict[str, Any], began: float):
        self.job, self.place = job, place
        self.pruned = ""
        self._asked = False
        self._kills = memory_kills()
        self._first: tuple[float, int] | None = None
        self._began = time.time()
        told = job.folder.path / "job.json"
        devices = processes(job.config)
        # Those that it began with: sums depend on their number.
        threads = read_json(told).get("threads", max(1, shares.threads // devices))
        environment = shares.environment(place, threads, devices)
        write_json(told, {"overrides": job.overrides, "threads": threads})
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        alone = devices == 1 and not shares.gpus
        begin = Forked if alone and can_fork(environment) else _started
        self._popen = begin(job.folder.output, environment)
        order = {
            "folder": str(job.folder.path),
            "config": plain,
            "overrides": job.overrides,
            "devices": devices,
            "began": began,
        }
        assert self._popen.stdin is not None
        with suppress(BrokenPipeError):  # it died already, which is seen when its end is looked at
            self._popen.stdin.write(json.dumps(order).encode() + b"\n")
            self._popen.stdin.flush()

    def ask_to_stop(self) -> None:
        """It finishes its step and saves."""
        self._asked = True
        self._popen.terminate()

    def prune(self, reason: str) -> None:
        """It finishes its step and saves, and is told as pruned for this reason."""
        self.pruned = reason
        self.ask_to_stop()

    def kill(self) -> None:
        """At once; what it has started notices within a second or two, saves and stops."""
        self._popen.kill()

    def ended(self) -> bool:
        """Whether it is over; then its job says how."""
        code = self._popen.poll()
        if code is None:
            return False
        if self._popen.stdin is not None:
            with suppress(BrokenPipeError):
                self._popen.stdin.close()
        job, status = self.job, read_status(self.job.folder)
        if status is not None:
            job.step, job.total = status.step, status.total
        job.reason = status.reason if status else ""
        # A job that lives on without the process it was forked from is watched by its folder.
        if code == BUSY or (code == LOST and job.folder.in_use()):
            job.state = "elsewhere"
        elif code == 0 and status is not None and status.state == "completed":
            job.state, job.reason = "completed", ""
        elif code in (128 + signal.SIGINT, 128 + signal.SIGTERM) or (code < 0 and self._asked):
            job.state = "interrupted"
            if code < 0 or not job.reason:
                job.reason = "stopped before it could save"
            if self.pruned:
                job.state, job.reason = "pruned", self.pruned
                note_end(job.folder, job.state, job.reason)
        elif code < 0:
            self._killed(signal.Signals(-code))
        else:
            job.state = "failed"
            if status is None or status.state != "failed":  # its own code left Python, say
                job.reason = f"ended by itself, exit code {code}; see {job.folder}/output.txt"
                note_end(job.folder, job.state, job.reason)
        return True

    def _killed(self, number: signal.Signals) -> None:
        """By a signal that the sweep did not send; the job's folder is told, which cannot know."""
        out_of_memory = number.name == "SIGKILL" and memory_kills() > self._kills
        job = self.job
        job.state, job.reason = killed_by(number)
        if out_of_memory:
            job.reason += " of the kernel, out of memory: lower sweep.jobs or batch_size"
        elif job.state == "failed":
            job.reason += f"; {job.folder}/output.txt tells where"
        note_end(job.folder, job.state, job.reason)

    def look(self) -> None:
        """How far it has come, what it measures, how long it will take at that pace."""
        job, now = self.job, time.monotonic()
        status = read_json(job.folder.status)
        if status.get("started", 0.0) < self._began:  # it has not come so far as to write its own
            return
        job.step, job.total = status["step"], status["total"]
        job.value = latest(job.folder.metrics, f"val/{job.key_metric}") or job.value
        if self._first is None and job.step:
            self._first = now, job.step
        if self._first is not None and job.step > self._first[1]:
            pace = (now - self._first[0]) / (job.step - self._first[1])
            job.seconds_left = pace * (job.total - job.step)


def _started(output: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A process that starts from nothing."""
    with open(output, "a", encoding="utf-8") as file:
        return subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C is for the sweep, which asks its jobs
        )


def killed_by(number: signal.Signals) -> tuple[State, str]:
    """What becomes of a job whose process ended by a signal, and the reason."""
    state: State = "interrupted" if number.name in _FROM_OUTSIDE else "failed"
    return state, f"killed by {number.name}"


def latest(metrics: Path, name: str) -> float | None:
    """The last value of `name` in the last lines of a metrics.jsonl."""
    try:
        with open(metrics, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        if name in line:
            with suppress(ValueError, KeyError):  # the first of them may be cut off
                return float(json.loads(line)[name])
    return None
