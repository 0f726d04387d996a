"""How a run is doing: status.json, for people and for other processes, and log.txt."""

import os
import socket
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from dlrun.errors import UserError
from dlrun.files import append_text, peek_json, write_json
from dlrun.runs.folder import RunFolder
from dlrun.runs.shapes import STATUS, misfit

if TYPE_CHECKING:
    from dlrun.console import Console

State = Literal["running", "completed", "pruned", "interrupted", "lost", "failed", "unknown"]
"""`pruned`: stopped by a study that had seen better ones, with a checkpoint; `lost`: without a
heartbeat for minutes; `unknown`: status.json cannot be read."""
_YEAR_9999 = 253_370_764_800.0  # what datetime can show
_BEAT = 2.0  # seconds between heartbeats
_SILENT = 300.0  # seconds without one; clocks of two machines may differ by so much


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


UNKNOWN = Status("unknown", 0, 0, 0.0, 0.0, 0, "", "status.json cannot be read")


class StatusWriter:
    """Keeps the file up to date; within it, a thread writes a heartbeat, however long a step is."""

    def __init__(self, folder: RunFolder, total: int, step: int) -> None:
        now = time.time()
        self.folder = folder
        self.status = Status("running", step, total, now, now, os.getpid(), socket.gethostname())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._write()

    def __enter__(self) -> "StatusWriter":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def end(self, state: State, reason: str = "") -> None:
        """Writes how the run ended."""
        self._stop()
        self.status.state, self.status.reason = state, reason
        self._write()

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            with suppress(OSError):  # a full disk, say, is told by what needs it
                self._write()

    def _stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _write(self) -> None:
        self.status.heartbeat = time.time()
        write_json(self.folder.status, asdict(self.status))


def read_status(folder: RunFolder) -> Status | None:
    """The run's status, or None where it cannot be read.

    A run that says it is running while no process holds its lock was killed: it is `interrupted`.
    The lock of another machine may not be seen from here: it is `lost` where its heartbeat is old.
    """
    found = peek_json(folder.status)
    if misfit(found, STATUS) or found["state"] not in get_args(State):
        return None
    status = Status(**found)
    if not all(0 <= moment < _YEAR_9999 for moment in (status.started, status.heartbeat)):
        return None
    if status.state == "running" and not folder.in_use():
        if status.host == socket.gethostname():
            status.state, status.reason = "interrupted", "killed"
        elif abs(time.time() - status.heartbeat) > _SILENT:
            since = datetime.fromtimestamp(status.heartbeat)
            status.state = "lost"
            status.reason = f"no sign of life from {status.host} since {since:%Y-%m-%d %H:%M}"
    return status


def note_end(folder: RunFolder, state: State, reason: str) -> None:
    """Writes how a run ended whose process could not; not of one that is complete or in use.

    Where the disk is full, or the folder gone, it stays as after a kill.
    """
    try:
        folder.lock()
    except (UserError, OSError):  # another process has resumed it
        return
    try:
        status, now = read_status(folder), time.time()
        if status is None:
            status = Status(state, 0, 0, now, now, os.getpid(), socket.gethostname())
        if status.state != "completed":
            status.state, status.reason, status.heartbeat = state, reason, now
            with suppress(OSError):
                write_json(folder.status, asdict(status))
                append_to_log(folder.log, reason)
    finally:
        folder.unlock()


class Log:
    """Says a line to the person and keeps it in log.txt, with the time of day."""

    def __init__(self, path: Path, console: "Console") -> None:
        self.path, self.console = path, console

    def say(self, text: str) -> None:
        """To the screen and to the file."""
        self.console.say(text)
        self.keep(text)

    def keep(self, text: str) -> None:
        """To the file alone."""
        append_to_log(self.path, text)

    def keep_failure(self, error: BaseException) -> None:
        """The whole traceback, which the screen does not show."""
        self.keep("".join(traceback.format_exception(error)).rstrip())


def append_to_log(path: Path, text: str) -> None:
    """A line, or several, of log.txt."""
    append_text(path, f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")
