"""How a process of dlrun ends: one line about what went wrong, and the exit code."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from dlrun.errors import CodeError, ConfigError, Interrupted, UserError
from dlrun.text import echo

_LONGEST_LINE = 1500  # characters


def run_and_exit(command: Callable[[], int]) -> NoReturn:
    """Runs `command` and exits with its code; an error is one line and no traceback."""
    try:
        code = command()
        sys.stdout.flush()
    except (UserError, Interrupted) as error:
        text = _told(error) if isinstance(error, CodeError) else str(error)
        lines = error.problems if isinstance(error, ConfigError) else str(text).splitlines()
        if isinstance(error, ConfigError) and len(lines) > 1:
            count = f"{len(lines)} things are wrong with the configuration"
            lines = [f"{count}; nothing was started", *lines]
        _complain(*lines)
        code = error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        code = 130
    except BrokenPipeError:  # `dlrun ls | head` closed the pipe
        _discard(sys.stdout)
        code = 0
    except Exception as error:
        line = _told(error)
        if line is None and isinstance(error, OSError) and error.errno is not None:
            line = str(error)
        if line is None:  # a bug in dlrun itself
            raise
        _complain(line)
        code = 1
    sys.exit(code)


def _told(error: Exception) -> str | None:
    from dlrun.registry import told

    return told(error)


def _complain(head: str, *lines: str) -> None:
    """Prints to stderr; whatever a line quotes, it stays one line that a terminal can show."""
    rows = [f"dlrun: {head}", *(f"  {line}" for line in lines)]
    text = "\n".join(echo(" ".join(row.splitlines()), _LONGEST_LINE) for row in rows)
    with ignore_closed_output():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def ignore_closed_output() -> Iterator[None]:
    """Within it, standard output and error that cannot be written to are no error.

    For a training: when `| head`, an interrupted `| tee`, a broken ssh connection or a full disk
    takes no more output, the rest is discarded. The run's log.txt has all of it.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Lasting(before[0]), _Lasting(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Lasting:
    """A stream that discards what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            _discard(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            _discard(self._stream)


def _discard(stream: TextIO) -> None:
    """From now on, what is written to `stream` goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
