"""How a process of dlrun ends: one line about what went wrong, and the exit code."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from dlrun.errors import CodeError, ConfigError, Interrupted, UserError
from dlrun.files import os_error_line
from dlrun.text import echo

_LONGEST_LINE = 1500  # characters


def run_and_exit(command: Callable[[], int], keeps_on: bool = False) -> NoReturn:
    """Runs `command` and exits with its code; an error is one line and no traceback.

    Args:
        command: gives the exit code.
        keeps_on: whether standard output that takes no more is no reason to stop, as for a training
            behind `| head`: the run's log.txt has all of it.
    """
    _open_streams()
    with guarded_output(keeps_on):
        code = _code_of(command)
    sys.exit(code)


def _code_of(command: Callable[[], int]) -> int:
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
        code = 0
    except Exception as error:
        line = _told(error)
        if line is None and isinstance(error, OSError) and error.errno is not None:
            line = os_error_line(error)
        if line is None:  # a bug in dlrun itself
            raise
        _complain(line)
        code = 1
    return code


def _told(error: Exception) -> str | None:
    from dlrun.registry import told

    return told(error)


def _complain(head: str, *lines: str) -> None:
    """Prints to stderr; whatever a line quotes, it stays one line that a terminal can show."""
    rows = [f"dlrun: {head}", *(f"  {line}" for line in lines)]
    text = "\n".join(echo(" ".join(row.splitlines()), _LONGEST_LINE) for row in rows)
    print(text, file=sys.stderr, flush=True)


def _open_streams() -> None:
    """Closed standard streams, as under some daemons, become the null device.

    Otherwise the next file that is opened, such as a checkpoint, would be standard error.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


@contextmanager
def guarded_output(keeps_on: bool) -> Iterator[None]:
    """Within it, what cannot be encoded is printed as `?`, and what cannot be written is discarded.

    Args:
        keeps_on: whether that is no error of standard output either; of standard error it is none.

    Raises:
        OSError: standard output cannot be written to; names it, where there is a reader.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.stdout, sys.stderr = _Guarded(before[0], keeps_on), _Guarded(before[1], True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Guarded:
    """A stream that discards what it cannot write."""

    def __init__(self, stream: TextIO, keeps_on: bool) -> None:
        self._stream, self._keeps_on = stream, keeps_on

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        """From now on, what is written goes nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if not self._keeps_on:
            if not isinstance(error, BrokenPipeError):
                error.filename = "standard output"
            raise error
