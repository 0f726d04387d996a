"""The one console, and dlrun's own log lines on it."""

import logging
import sys
from typing import NoReturn

from rich.console import Console


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """`dlrun ls | head`: rich would exit with 1, here `ended` decides."""
        raise BrokenPipeError


def make_console() -> Console:
    """For what people read; lines are not wrapped where there is no terminal."""
    return _Console(soft_wrap=not sys.stdout.isatty())


class ConsoleHandler(logging.Handler):
    """Log records as plain lines above the live block."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self.console.print(record.getMessage(), highlight=False, markup=False)


def log_to(console: Console) -> None:
    """Sends the logger `dlrun` to the console, once."""
    logger = logging.getLogger("dlrun")
    logger.handlers = [ConsoleHandler(console)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
