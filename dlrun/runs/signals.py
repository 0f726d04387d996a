"""Ctrl-C, SIGTERM, a closed terminal: a run finishes its step and saves; Ctrl-C twice stops it."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType

from dlrun.errors import Interrupted

ASKING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""The signals that ask to stop; SIGHUP comes when a terminal or an ssh connection closes."""
LAUNCHER = "DLRUN_LAUNCHER"
"""The environment variable with the process id of the launcher of several, where that is ours."""


class StopRequest:
    """While entered, remembers the first signal of `ASKING`; a second SIGINT ends the process.

    Handlers only set a flag: saving from inside one could meet any half-done state.

    Args:
        quiet: of several processes that are asked together one answers.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        self._before = answered_by(self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A launcher that is asked a second time passes it on as SIGTERM.
        relayed = self.signal == signal.SIGINT and LAUNCHER in os.environ
        if self.signal is not None and (number == signal.SIGINT or relayed):
            self._stop_at_once()
        self.signal = number
        if number == signal.SIGINT and not self.quiet:
            write_to_stderr("\nfinishing the step and saving (Ctrl-C again stops at once)\n")

    def _stop_at_once(self) -> None:
        if not self.quiet:
            write_to_stderr("\nstopped at once; the last saved checkpoint stands\n")
        os._exit(128 + signal.SIGINT)


def answered_by(handler: Callable[[int, FrameType | None], None]) -> dict[int, object]:
    """Sets `handler` for `ASKING`; gives the handlers of before.

    A signal that is ignored, as `nohup` does with SIGHUP, stays so.
    """
    numbers = [n for n in ASKING if n == signal.SIGINT or signal.getsignal(n) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in numbers}


def write_to_stderr(text: str) -> None:
    """From inside of a handler, where nothing may be buffered; nobody may be there to read it."""
    show_cursor = "\x1b[?25h" if os.isatty(2) else ""  # a live block has hidden it
    with suppress(OSError):
        os.write(2, (show_cursor + text).encode())


@contextmanager
def termination_told() -> Iterator[None]:
    """Where nothing else handles SIGTERM it is raised as Interrupted, as Ctrl-C is as what it is.

    For what has nothing to save: a sweep before its jobs are begun, or that waits for others.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number, f"stopped by {signal.Signals(number).name}")

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
