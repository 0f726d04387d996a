"""Runs a sweep's jobs, several at a time; shares the work with other sweeps of the same jobs."""

import os
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from dlrun.config.check import to_plain_types
from dlrun.config.schema import SweepConfig
from dlrun.files import read_json
from dlrun.runs.signals import answered_by, write_to_stderr
from dlrun.runs.status import Status, read_status
from dlrun.sweeps.plan import OVER, Job
from dlrun.sweeps.process import Process
from dlrun.sweeps.shares import Shares

_PAUSE = 0.05  # seconds between looks at the processes
_LOOK_EVERY = 0.5  # seconds between looks at files
_SILENT = 120.0  # seconds without a sign of life of another machine's run, whose lock is not seen


class View(Protocol):
    """Who is told what happens."""

    stopping: bool

    def changed(self, job: Job) -> None:
        """A job has begun or is over."""

    def refresh(self) -> None:
        """Called all the time."""

    def say(self, text: str) -> None:
        """One line."""


class Pool:
    """The jobs of one sweep on this machine.

    Args:
        jobs: in the order in which they are begun.
        shares: of the machine.
        asked: what to do about failures.
        view: told of every change.
        began: when the sweep did, seconds since 1970; what failed before may be tried again.
    """

    def __init__(
        self, jobs: list[Job], shares: Shares, asked: SweepConfig, view: View, began: float
    ) -> None:
        self.jobs, self.shares, self.asked, self.view = jobs, shares, asked, view
        self.began = began
        self.signal: int | None = None
        self._stopping = False
        self._running: list[Process] = []
        self._looked = 0.0

    def run(self) -> None:
        """Until every job is over, or until it was asked to stop and all that ran has stopped.

        While it runs, SIGINT, SIGTERM and SIGHUP ask all jobs to save and stop; a second SIGINT
        ends them at once.
        """
        before = answered_by(self._handle)
        try:
            while self._running or (self.open() and not self._stopping):
                if self.signal is not None and not self._stopping:
                    self._stop()
                self._reap()
                self._look()
                if not self._stopping:
                    self._fill()
                self.view.refresh()
                time.sleep(_PAUSE)
        finally:
            for process in self._running:  # only after an error of our own
                process.ask_to_stop()
            for number, handler in before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]

    def open(self) -> bool:
        """Whether there is something left to do."""
        return any(job.state in ("waiting", "elsewhere") for job in self.jobs)

    def further(self) -> Job | None:
        """One more job, asked for while there is room; a sweep has none but those it began with."""
        return None

    def begins(self, job: Job) -> bool:
        """Whether a job that waits is really to be begun; else its state has been changed."""
        return True

    def watch(self, process: Process) -> None:
        """Every now and then, at what a process has written."""
        process.look()

    def over(self, job: Job) -> None:
        """A job has ended, here or elsewhere, now or before."""

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            for process in self._running:
                process.kill()
            write_to_stderr("\nstopped at once; the last saved checkpoints stand\n")
            os._exit(128 + number)
        self.signal = self.signal or number

    def _stop(self) -> None:
        self._stopping = self.view.stopping = True
        if self.signal == signal.SIGINT:
            self.view.say("all jobs finish their step and save (Ctrl-C again stops at once)")
        for process in self._running:
            process.ask_to_stop()

    def _reap(self) -> None:
        for process in list(self._running):
            if not process.ended():
                continue
            self._running.remove(process)
            job = process.job
            job.seconds_left = None
            if job.state == "completed":
                job.value = best(job)
            self._changed(job)
            if job.state in ("failed", "interrupted") and self.asked.fail_fast:
                self._stop()

    def _look(self) -> None:
        """At the files: progress of our own jobs, and what became of those of other sweeps."""
        if time.monotonic() - self._looked < _LOOK_EVERY:
            return
        self._looked = time.monotonic()
        for process in self._running:
            self.watch(process)
        for job in self.jobs:
            if job.state == "elsewhere":
                self.settle(job)

    def settle(self, job: Job) -> None:
        """What the job's folder says: over, being trained elsewhere, or to be trained."""
        was, status = job.state, read_status(job.folder)
        if status is not None:
            job.step, job.total = status.step, status.total
        if status is not None and status.state == "completed":
            job.state, job.value = "completed", best(job)
        elif job.folder.in_use() or _far_away(status):
            job.state = "elsewhere"
        elif status is not None and status.state == "failed" and not self._again(status.heartbeat):
            job.state, job.reason = "failed", status.reason
        else:
            job.state = "waiting"
        over = job.state in ("completed", "failed")
        job.before = over and status is not None and status.heartbeat < self.began
        if job.state != was:
            self._changed(job)

    def conclude(self, job: Job) -> None:
        """What the folder of a job says that somebody else has had: cut off is not unbegun."""
        self.settle(job)
        status = read_status(job.folder)
        if job.state == "waiting" and status is not None and status.state == "interrupted":
            job.state, job.reason = "interrupted", status.reason
            self._changed(job)

    def _changed(self, job: Job) -> None:
        if job.state in OVER:
            self.over(job)
        self.view.changed(job)

    def _again(self, failed_at: float) -> bool:
        return self.asked.retry == "failed" and failed_at < self.began

    def _fill(self) -> None:
        """Begins jobs while there is room."""
        free = set(range(self.shares.jobs)) - {process.place for process in self._running}
        ours = {process.job.folder.path for process in self._running}
        candidates = self._candidates()
        while free and (job := next(candidates, None)) is not None:
            if job.state != "waiting" or job.folder.path in ours:
                continue
            self.settle(job)
            if job.state == "waiting" and not self.begins(job):
                self._changed(job)
            elif job.state == "waiting":
                plain = to_plain_types(job.config)
                process = Process(job, free.pop(), self.shares, plain, self.began)
                self._running.append(process)
                ours.add(job.folder.path)
                job.state = "running"
                self.view.changed(job)

    def _candidates(self) -> Iterator[Job]:
        yield from list(self.jobs)
        while (job := self.further()) is not None:
            self.jobs.append(job)
            yield job


def best(job: Job) -> float | None:
    """The best val value of a job that is complete."""
    summary = read_json(job.folder.summary)
    job.key_metric = summary.get("key_metric", job.key_metric)
    value = summary.get("best", {}).get("val")
    return None if value is None else float(value)


def _far_away(status: Status | None) -> bool:
    """Whether another machine is training it: one of this machine would hold the folder's lock."""
    return (
        status is not None
        and status.state == "running"
        and time.time() - status.heartbeat < _SILENT
    )
