"""Standard output and error whose reader may go away."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


@contextmanager
def lasting_output() -> Iterator[None]:
    """For what trains: nothing is lost when whoever reads the output goes away.

    `| head`, `| tee` that is interrupted, an ssh connection that breaks, a full disk: what is
    printed from then on goes nowhere; the run's log.txt has it all.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Lasting(before[0]), _Lasting(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Lasting:
    """A stream whose end is not an error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As the stream, for as long as it takes something."""
        try:
            return self._stream.write(text)
        except OSError:
            discard(self._stream)
            return len(text)

    def flush(self) -> None:
        """As the stream."""
        try:
            self._stream.flush()
        except OSError:
            discard(self._stream)


def discard(stream: TextIO) -> None:
    """From now on what is written to `stream` goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
