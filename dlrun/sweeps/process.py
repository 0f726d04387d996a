"""The process of one job: how it is started, and what became of it.

To import torch takes longer than many a short job, so on Linux a job on the CPU is forked from
multiprocessing's fork server, which has imported it and trains nothing. Any other job is a fresh
interpreter.
"""

import json
import multiprocessing
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from dlrun.config.typed import to_plain_types
from dlrun.files import peek_json, read_json
from dlrun.runs.shapes import STATUS, misfit
from dlrun.runs.signals import ASKING
from dlrun.runs.status import note_end, read_status
from dlrun.sweeps import worker
from dlrun.sweeps.plan import Job, Slots, out_of_memory_kills, processes
from dlrun.sweeps.worker import Spec

# Sent from outside: the job itself is in order and can be resumed.
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
_READ_AT_IMPORT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries read once, when they are loaded."""


class Fresh(subprocess.Popen[bytes]):
    """A fresh interpreter, with what multiprocessing's processes have."""

    @property
    def exitcode(self) -> int | None:
        """The exit code, -number for a signal, or None while it runs."""
        return self.poll()

    def close(self) -> None:
        """Closes the pipe to it."""
        assert self.stdin is not None
        with suppress(BrokenPipeError):
            self.stdin.close()


class Starter:
    """Starts the processes of a sweep's jobs; `command` is a fresh interpreter."""

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, *worker.MODULE),
        fork: bool = sys.platform == "linux",
    ) -> None:
        self.command, self.fork = command, fork
        self._server_threads: list[str | None] | None = None

    def __call__(
        self, spec: Spec, output: Path, environment: dict[str, str], fresh: bool
    ) -> Fresh | BaseProcess:
        """Starts one, whose output goes to the file `output`.

        `fresh` asks for an interpreter of its own, as with a GPU, whose context does not survive a
        fork.
        """
        threads = [environment.get(name) for name in _READ_AT_IMPORT]
        if self.fork and not fresh and self._server_threads in (None, threads):
            # Where TMPDIR is too long for the path of the server's socket, jobs are not forked.
            with suppress(OSError, EOFError):
                started = _forked(spec, output, environment)
                self._server_threads = threads
                return started
        return _fresh(self.command, spec, output, environment)


def _forked(spec: Spec, output: Path, environment: dict[str, str]) -> BaseProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dlrun.sweeps.preload"])
    process = context.Process(target=worker.run_forked, args=(spec, str(output), environment))
    own = dict(os.environ)
    os.environ.update(environment, PYTHONSAFEPATH="1")  # a server that starts now inherits them
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(own)
    return process


def _fresh(command: Sequence[str], spec: Spec, output: Path, environment: dict[str, str]) -> Fresh:
    with open(output, "a", encoding="utf-8") as file:
        process = Fresh(
            command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,  # Ctrl-C in a terminal is for the sweep, which asks its jobs
        )  # fmt: skip
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died already, as its exit code will say
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
    return process


class Process:
    """Starts a job in a slot, and follows it."""

    def __init__(self, job: Job, slot: int, slots: Slots, began: float, start: Starter) -> None:
        self.job, self.slot = job, slot
        self.pruned = ""
        self._asked_to_stop = False
        self._kills = out_of_memory_kills()
        self._began = time.time()
        self._first: tuple[float, int] | None = None
        devices = processes(job.config)
        self._record, self._token = job.folder.path / "job.json", secrets.token_hex(8)
        # A resumed job has as many threads as before: sums depend on their number.
        threads = read_json(self._record).get("threads", max(1, slots.threads // devices))
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment |= slots.environment(slot, threads, devices)
        spec: Spec = {
            "folder": str(job.folder.path), "config": to_plain_types(job.config),
            "overrides": job.overrides, "devices": devices, "began": began,
            "threads": threads, "token": self._token,
        }  # fmt: skip
        fresh = devices > 1 or bool(slots.gpus)
        self._process = start(spec, job.folder.output, environment, fresh)

    def ask_to_stop(self) -> None:
        """It finishes its step and saves."""
        self._asked_to_stop = True
        self._process.terminate()

    def prune(self, reason: str) -> None:
        """It finishes its step and saves, and ends as pruned for this reason."""
        self.pruned = reason
        self.ask_to_stop()

    def kill(self) -> None:
        """At once; the processes that it has started save and stop within a second or two."""
        self._process.kill()

    def ended(self) -> bool:
        """Whether it has ended; if so, its job says how."""
        code = self._process.exitcode
        if code is None:
            return False
        self._process.close()  # a job whose fork server was killed reads the end, saves and stops
        job, status = self.job, read_status(self.job.folder)
        if status is not None:
            job.step, job.total = status.step, status.total
        job.reason = status.reason if status else ""
        if code == 0 and read_json(self._record).get("token") != self._token:
            job.state = "elsewhere"
        elif status is not None and status.state == "completed":
            job.state, job.reason = "completed", ""
        elif code - 128 in ASKING or (code < 0 and self._asked_to_stop):
            job.state = "interrupted"
            if code < 0 or not job.reason:
                job.reason = "stopped before it could save"
            if self.pruned:
                job.state, job.reason = "pruned", self.pruned
                note_end(job.folder, job.state, job.reason)
        elif code < 0:
            self._killed(signal.Signals(-code))
        elif job.folder.in_use():  # only the fork server was killed, and the code is not the job's
            job.state = "elsewhere"
        else:
            job.state = "failed"
            if status is None or status.state != "failed":  # its own code left Python, say
                there = job.folder.path
                full = there.exists() and not shutil.disk_usage(there).free
                job.reason = f"exited with code {code}; " + (
                    "No space left on device" if full else f"see {job.folder}/output.txt"
                )
                note_end(job.folder, job.state, job.reason)
        return True

    def _killed(self, number: signal.Signals) -> None:
        """By a signal that the sweep did not send; the job itself could not record it."""
        job = self.job
        job.state = "interrupted" if number.name in _FROM_OUTSIDE else "failed"
        job.reason = f"killed by {number.name}"
        if number.name == "SIGKILL" and out_of_memory_kills() > self._kills:
            job.reason += " of the kernel, out of memory: lower sweep.jobs or batch_size"
        elif job.state == "failed":
            job.reason += f"; see {job.folder}/output.txt"
        note_end(job.folder, job.state, job.reason)

    def look(self) -> None:
        """Reads its step, its latest value, and how long it will take at its pace."""
        job, status = self.job, peek_json(self.job.folder.status)
        if misfit(status, STATUS) or status["started"] < self._began:  # not written its own yet
            return
        job.step, job.total = status["step"], status["total"]
        for _, numbers in job.evaluations.look():
            job.value = numbers.get(job.key_metric or "", job.value)
        if job.total:  # before that it has not read its checkpoint
            now = time.monotonic()
            at, first = self._first = self._first or (now, job.step)
            if job.step > first:
                job.seconds_left = (now - at) / (job.step - first) * (job.total - job.step)
