"""Ctrl-C, SIGTERM, a closed terminal: a run finishes its step and saves; Ctrl-C twice stops it."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from types import FrameType

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
        self._handlers = ExitStack()

    def __enter__(self) -> "StopRequest":
        self._handlers.enter_context(handled(self._handle))
        return self

    def __exit__(self, *error: object) -> None:
        self._handlers.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A launcher that is asked a second time passes it on as SIGTERM.
        relayed = self.signal == signal.SIGINT and LAUNCHER in os.environ
        again = self.signal is not None and (number == signal.SIGINT or relayed)
        if not self.quiet and again:
            write_to_stderr("\nstopped at once; the last saved checkpoint remains\n")
        elif not self.quiet and number == signal.SIGINT:
            write_to_stderr("\nfinishing the step and saving (Ctrl-C again stops at once)\n")
        if again:
            os._exit(128 + signal.SIGINT)
        self.signal = number


@contextmanager
def handled(
    handler: Callable[[int, FrameType | None], None], numbers: Sequence[int] = ASKING
) -> Iterator[None]:
    """Within it, `handler` answers the signals.

    One that is ignored, as `nohup` does with SIGHUP, stays so; SIGINT is never ignored.
    """
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def termination_raises() -> AbstractContextManager[None]:
    """Within it SIGTERM is raised as Interrupted, as Ctrl-C is as KeyboardInterrupt.

    For what has nothing to save: a sweep before its jobs are begun, or that waits for others.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number, f"stopped by {signal.Signals(number).name}")

    return handled(handle, [signal.SIGTERM])


def write_to_stderr(text: str) -> None:
    """From inside of a handler, where nothing may be buffered; nobody may be there to read it."""
    show_cursor = "\x1b[?25h" if os.isatty(2) else ""  # a live block has hidden it
    with suppress(OSError):
        os.write(2, (show_cursor + text).encode())
