"""status.json: how a run is doing, for people and for other processes."""

import os
import socket
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

from dlrun.errors import UserError
from dlrun.files import read_json, write_json
from dlrun.runs.folder import RunFolder

State = Literal["running", "completed", "pruned", "interrupted", "failed"]
"""`pruned`: stopped by a study that had seen better ones, with a checkpoint."""
_BEAT = 2.0  # seconds between heartbeats, so that a tight loop does not write all the time


@dataclass
class Status:
    """What the file holds; times are seconds since 1970."""

    state: State
    step: int
    total: int
    started: float
    heartbeat: float
    pid: int
    host: str
    reason: str = ""


class StatusWriter:
    """Keeps the file up to date."""

    def __init__(self, folder: RunFolder, total: int, step: int) -> None:
        now = time.time()
        self.folder = folder
        self.status = Status("running", step, total, now, now, os.getpid(), socket.gethostname())
        self._write()

    def beat(self, step: int) -> None:
        """Still alive; writes at most every few seconds."""
        self.status.step = step
        if time.time() - self.status.heartbeat >= _BEAT:
            self._write()

    def end(self, state: State, reason: str = "") -> None:
        """Writes how the run ended."""
        self.status.state, self.status.reason = state, reason
        self._write()

    def _write(self) -> None:
        self.status.heartbeat = time.time()
        write_json(self.folder.status, asdict(self.status))


def read_status(folder: RunFolder) -> Status | None:
    """The run's status, or None where it cannot be read.

    A run that says it is running while no process holds its lock was killed: it is `interrupted`.
    """
    try:
        status = Status(**read_json(folder.status))
    except TypeError:
        return None
    if status.state == "running" and status.host == socket.gethostname() and not folder.in_use():
        status.state, status.reason = "interrupted", "killed"
    return status


def note_end(folder: RunFolder, state: State, reason: str) -> None:
    """Writes how a run ended whose process could not; not of one that is complete or in use."""
    try:
        folder.lock()
    except UserError:  # another process has resumed it
        return
    try:
        status, now = read_status(folder), time.time()
        if status is None:
            status = Status(state, 0, 0, now, now, os.getpid(), socket.gethostname())
        if status.state != "completed":
            status.state, status.reason, status.heartbeat = state, reason, now
            write_json(folder.status, asdict(status))
            with open(folder.log, "a", encoding="utf-8") as log:
                log.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {reason}\n")
    finally:
        folder.unlock()
