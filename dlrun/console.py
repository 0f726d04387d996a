"""The console that people read, and dlrun's log lines on it."""

import logging
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from dlrun.text import printable


class Console(rich.console.Console):
    """rich's console; without a terminal, lines are not wrapped and tables have room.

    Args:
        stderr: whether it prints to standard error.
        quiet: whether it prints nothing, as in all but one of several processes.
        options: further ones of rich's console.
    """

    def __init__(self, stderr: bool = False, quiet: bool = False, **options: Any) -> None:
        stream = options.get("file") or (sys.stderr if stderr else sys.stdout)
        is_terminal = options.get("force_terminal") or stream.isatty()
        if not is_terminal:  # a file has no edge, and no cursor, also where FORCE_COLOR is set
            options.setdefault("width", 250)
            options.setdefault("force_interactive", False)
        super().__init__(stderr=stderr, quiet=quiet, soft_wrap=not is_terminal, **options)

    @property
    def is_coloured(self) -> bool:
        """Whether escape codes of colours may be printed: a terminal that has them, no NO_COLOR."""
        return self.is_terminal and self.color_system is not None and not self.no_color

    def say(self, *lines: str, wrap: bool = True) -> None:
        """Prints lines as they are, without rich's markup and colours.

        Args:
            lines: of text.
            wrap: whether a terminal breaks them between words; False for what may be copied.
        """
        for line in lines:
            self.print(line, highlight=False, markup=False, soft_wrap=None if wrap else True)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What a name or a file holds reaches the terminal as text, never as its commands."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control or text.isprintable() or text == "\n":
                yield segment
            else:
                yield Segment("\n".join(map(printable, text.split("\n"))), style)

    def on_broken_pipe(self) -> NoReturn:
        """`dlrun ls | head`: rich would exit with 1; `run_and_exit` decides."""
        raise BrokenPipeError


class _Handler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """One line, above a live display."""
        self.console.say(record.getMessage())


def log_to(console: Console) -> None:
    """Sends the logger `dlrun` to the console, and to nothing else."""
    logger = logging.getLogger("dlrun")
    logger.handlers = [_Handler(console)]
    logger.setLevel(logging.INFO)
    logger.propagate = False
