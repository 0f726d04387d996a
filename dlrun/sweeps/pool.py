"""Runs a sweep's jobs in processes, several at a time; shares the work with other sweeps.

To import torch takes longer than many a short job, so on Linux a job on the CPU is forked from
multiprocessing's fork server, which has imported it and trains nothing. Any other job is a fresh
interpreter.
"""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from dlrun.config.schema import SweepConfig
from dlrun.config.typed import to_plain_types
from dlrun.files import read_json, write_json
from dlrun.runs.signals import handled, write_to_stderr
from dlrun.runs.status import Status, note_end, read_status
from dlrun.sweeps import worker
from dlrun.sweeps.plan import ENDED, Job, Slots, evaluations, out_of_memory_kills, processes
from dlrun.sweeps.view import SweepView
from dlrun.sweeps.worker import BUSY, Spec

_SILENT = 120.0  # seconds without a heartbeat, of a run on another machine, whose lock is not seen
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
        self._began, self._first_step = time.time(), job.step
        devices = processes(job.config)
        record = job.folder.path / "job.json"
        # A resumed job has as many threads as before: sums depend on their number.
        threads = read_json(record).get("threads", max(1, slots.threads // devices))
        write_json(record, {"overrides": job.overrides, "threads": threads})
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment |= slots.environment(slot, threads, devices)
        spec: Spec = {
            "folder": str(job.folder.path), "config": to_plain_types(job.config),
            "overrides": job.overrides, "devices": devices, "began": began,
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
        if code == BUSY:
            job.state = "elsewhere"
        elif status is not None and status.state == "completed":
            job.state, job.reason = "completed", ""
        elif code in (128 + signal.SIGINT, 128 + signal.SIGTERM) or (
            code < 0 and self._asked_to_stop
        ):
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
                job.reason = f"exited with code {code}; see {job.folder}/output.txt"
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
        job, status = self.job, read_json(self.job.folder.status)
        if status.get("started", 0.0) < self._began:  # it has not written its own yet
            return
        job.step, job.total = status["step"], status["total"]
        for _, numbers in evaluations(job.folder):
            job.value = numbers.get(job.key_metric or "", job.value)
        if job.step > self._first_step:
            pace = (time.time() - status["started"]) / (job.step - self._first_step)
            job.seconds_left = pace * (job.total - job.step)


class Pool:
    """The jobs of one sweep on this machine.

    Args:
        jobs: in the order in which they start.
        slots: of the machine.
        settings: what to do about failures.
        view: shows every change.
        began: when the sweep began, in seconds since 1970; earlier failures may be tried again.
        start: starts the jobs' processes.
        pause: seconds between looks at the processes.
        look_every: seconds between looks at the files.
    """

    def __init__(
        self,
        jobs: list[Job],
        slots: Slots,
        settings: SweepConfig,
        view: SweepView,
        began: float,
        start: Starter,
        pause: float = 0.05,
        look_every: float = 0.5,
    ) -> None:
        self.jobs, self.slots, self.settings, self.view = jobs, slots, settings, view
        self.began, self.start, self.pause, self.look_every = began, start, pause, look_every
        self.signal: int | None = None
        self._stopping = False
        self._running: list[Process] = []
        self._looked = 0.0

    def run(self) -> None:
        """Until every job has ended, or a signal has asked all jobs to save and stop and they have.

        A second SIGINT ends them at once.
        """
        with handled(self._handle):
            try:
                while self._running or (self.unfinished() and not self._stopping):
                    if self.signal is not None and not self._stopping:
                        self._stop()
                    self._reap()
                    self._look()
                    if not self._stopping:
                        self._fill()
                    self.view.refresh()
                    time.sleep(self.pause)
            finally:
                for process in self._running:  # only after an error in here
                    process.ask_to_stop()

    def unfinished(self) -> bool:
        """Whether there is something left to do."""
        return any(job.state in ("waiting", "elsewhere") for job in self.jobs)

    def next_job(self) -> Job | None:
        """One more job, asked for while a slot is free; a sweep has only those it began with."""
        return None

    def may_start(self, job: Job) -> bool:
        """Whether a waiting job is to start; otherwise its state has been changed."""
        return True

    def watch(self, process: Process) -> None:
        """Called now and then, to look at what the process has written."""
        process.look()

    def on_end(self, job: Job) -> None:
        """A job has ended, here or elsewhere, now or before."""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            for process in self._running:
                process.kill()
            write_to_stderr("\nstopped at once; the last saved checkpoints remain\n")
            os._exit(128 + number)
        self.signal = self.signal or number

    def _stop(self) -> None:
        self._stopping = self.view.stopping = True
        if self.signal == signal.SIGINT:
            self.view.say("all jobs finish their step and save (Ctrl-C again stops at once)")
        for process in self._running:
            process.ask_to_stop()

    def _reap(self) -> None:
        for process in [process for process in self._running if process.ended()]:
            self._running.remove(process)
            job = process.job
            job.seconds_left = None
            if job.state == "completed":
                job.value = best(job)
            self._changed(job)
            if job.state in ("failed", "interrupted") and self.settings.fail_fast:
                self._stop()

    def _look(self) -> None:
        """Reads the progress of our own jobs, and what became of those of other sweeps."""
        if time.monotonic() - self._looked < self.look_every:
            return
        self._looked = time.monotonic()
        for process in self._running:
            self.watch(process)
        for job in self.jobs:
            if job.state == "elsewhere":
                self.read(job)

    def read(self, job: Job) -> None:
        """Reads the job's state from its folder: ended, trained elsewhere, or to be trained."""
        was, status = job.state, read_status(job.folder)
        if status is not None:
            job.step, job.total = status.step, status.total
        if status is not None and status.state == "completed":
            job.state, job.value = "completed", best(job)
        elif job.folder.in_use() or _on_another_machine(status):
            job.state = "elsewhere"
        elif status is not None and status.state == "failed":
            again = self.settings.retry == "failed" and status.heartbeat < self.began
            job.state, job.reason = ("waiting", "") if again else ("failed", status.reason)
        else:
            job.state = "waiting"
        ended = job.state in ("completed", "failed")
        job.ended_before = ended and status is not None and status.heartbeat < self.began
        if job.state != was:
            self._changed(job)

    def conclude(self, job: Job) -> None:
        """As `read`, of a job that another launcher had: what was interrupted is not waiting."""
        self.read(job)
        status = read_status(job.folder)
        if job.state == "waiting" and status is not None and status.state == "interrupted":
            job.state, job.reason = "interrupted", status.reason
            self._changed(job)

    def _changed(self, job: Job) -> None:
        if job.state in ENDED:
            self.on_end(job)
        self.view.changed(job)

    def _fill(self) -> None:
        """Starts jobs while a slot is free."""
        free = set(range(self.slots.jobs)) - {process.slot for process in self._running}
        ours = {process.job.folder.path for process in self._running}
        candidates = self._candidates()
        while free and (job := next(candidates, None)) is not None:
            if job.state != "waiting" or job.folder.path in ours:
                continue
            self.read(job)
            if job.state != "waiting":
                continue
            if not self.may_start(job):
                self._changed(job)
            else:
                process = Process(job, free.pop(), self.slots, self.began, self.start)
                self._running.append(process)
                ours.add(job.folder.path)
                job.state = "running"
                self.view.changed(job)

    def _candidates(self) -> Iterator[Job]:
        yield from list(self.jobs)
        while (job := self.next_job()) is not None:
            self.jobs.append(job)
            yield job


def best(job: Job) -> float | None:
    """The best val value of a completed job."""
    summary = read_json(job.folder.summary)
    job.key_metric = summary.get("key_metric", job.key_metric)
    value = summary.get("best", {}).get("val")
    return None if value is None else float(value)


def _on_another_machine(status: Status | None) -> bool:
    """Whether one is training it: a process of this machine would hold the folder's lock."""
    return (
        status is not None
        and status.state == "running"
        and time.time() - status.heartbeat < _SILENT
    )
