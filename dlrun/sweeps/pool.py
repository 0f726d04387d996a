"""Runs a sweep's jobs, several at a time; shares the work with other sweeps."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType

from dlrun.config.schema import SweepConfig
from dlrun.runs.run import Run
from dlrun.runs.signals import handled, write_to_stderr
from dlrun.runs.status import read_status
from dlrun.sweeps.plan import ENDED, Job, Slots
from dlrun.sweeps.process import Process, Starter
from dlrun.sweeps.view import SweepView


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
                    with suppress(ValueError):  # it has ended, and is closed
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
        ended = [process for process in self._running if process.ended()]
        self._running = [process for process in self._running if process not in ended]
        for process in ended:
            job = process.job
            job.seconds_left = None
            if job.state == "completed":
                job.value = best(job)
            self._changed(job)
            stops = self.settings.fail_fast and not self._stopping
            if stops and job.state in ("failed", "interrupted"):
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
        elif job.folder.in_use() or (status is not None and status.state == "running"):
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
        ended = status is not None and status.state in ("interrupted", "lost")
        if job.state == "waiting" and status is not None and ended:
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
    run = Run(job.folder.path)
    job.key_metric = run.key_metric or job.key_metric
    return run.best_val
