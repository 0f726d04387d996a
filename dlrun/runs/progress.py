"""What a person sees of a training: one live block, or plain lines without a terminal."""

import time
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dlrun.runs.status import Log

_PLAIN_EVERY = 5.0  # seconds between lines where there is no terminal
_KEPT_EVERY = 60.0  # seconds between the lines that log.txt keeps
_RATE_WINDOW = 3.0  # seconds over which images per second are taken


class ProgressView:
    """The live block: a bar, images per second, the time left, the current numbers."""

    def __init__(
        self, log: Log, total: int, start: int, images_per_step: int, steps_per_epoch: int
    ) -> None:
        self.log, self.total = log, total
        console = self.console = log.console
        self.images_per_step, self.steps_per_epoch = images_per_step, steps_per_epoch
        self.numbers: dict[str, float] = {}
        self.rate = 0.0
        self.step = self._printed = start
        self._mark = (time.monotonic(), start)
        self._plain_at = self._kept_at = time.monotonic()
        self._warned: set[str] = set()
        self._live: Live | None = None
        if console.is_interactive:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
                TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True),
                TextColumn("left"), console=console,
            )  # fmt: skip
            self._task = self._bar.add_task("starting", total=total, completed=start, rate="")
            self._live = Live(self._block(), console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "ProgressView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.update(self._block())
            self._live.stop()
        elif self.step > self._printed:
            self._print_line()

    def update(self, step: int, numbers: Mapping[str, float]) -> None:
        """After a log: the step reached and what was measured."""
        self.numbers.update(numbers)
        self.step = step
        now = time.monotonic()
        if step > self._mark[1] and (now - self._mark[0] >= _RATE_WINDOW or not self.rate):
            elapsed, steps = now - self._mark[0], step - self._mark[1]
            self.rate = steps * self.images_per_step / elapsed if elapsed > 0 else 0.0
            self._mark = (now, step)
        if self._live is not None:
            epochs = -(-self.total // self.steps_per_epoch)
            epoch = min(step // self.steps_per_epoch + 1, epochs)
            self._bar.update(
                self._task, completed=step, description=f"epoch {epoch}/{epochs}",
                rate=f"{self.rate:,.0f} images/s",
            )  # fmt: skip
            self._live.update(self._block())
        elif now - self._plain_at >= _PLAIN_EVERY:
            self._print_line()
        if now - self._kept_at >= _KEPT_EVERY:
            self._kept_at = now
            self.log.keep(self._plain(step))

    def warn(self, lines: Sequence[str]) -> None:
        """What a method has to say; the same words once only."""
        for line in lines:
            if line not in self._warned:
                self._warned.add(line)
                self.log.say(f"warning: {line}")

    def _block(self) -> Group:
        table = Table.grid(padding=(0, 2))
        parts = {"train": Text(), "val": Text()}
        for name, value in self.numbers.items():
            split, _, short = name.partition("/")
            parts.setdefault(split, Text()).append(f"{short} {_number(value)}  ")
        for split, text in parts.items():
            if text:
                table.add_row(Text(split, style="dim"), text)
        return Group(self._bar, table)

    def _print_line(self) -> None:
        self._plain_at, self._printed = time.monotonic(), self.step
        self.console.say(self._plain(self.step))

    def _plain(self, step: int) -> str:
        left = ""
        if self.rate:
            seconds = (self.total - step) * self.images_per_step / self.rate
            left = f", {seconds:.0f} s left"
        numbers = "  ".join(
            f"{name} {_number(self.numbers[name])}" for name in sorted(self.numbers)
        )
        return f"step {step}/{self.total}  {self.rate:,.0f} images/s{left}  {numbers}"


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
