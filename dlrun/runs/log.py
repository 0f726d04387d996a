"""log.txt: what a run said, with the time of day, and why it failed."""

import traceback
from datetime import datetime
from pathlib import Path

from dlrun.console import Console


class Log:
    """Says a line to the person and keeps it in the run's folder."""

    def __init__(self, path: Path, console: Console) -> None:
        self.path, self.console = path, console

    def say(self, text: str) -> None:
        """To the screen and to the file."""
        self.console.say(text)
        self.keep(text)

    def keep(self, text: str) -> None:
        """To the file alone."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")

    def keep_failure(self, error: BaseException) -> None:
        """The whole traceback, which the screen is spared."""
        self.keep("".join(traceback.format_exception(error)).rstrip())
