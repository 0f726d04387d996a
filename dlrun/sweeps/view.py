"""Shows a sweep: a live table, or lines where there is no terminal, and the final table."""

import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dlrun.console import Console
from dlrun.runs.groups import on_other_data
from dlrun.runs.run import Run
from dlrun.sweeps.plan import Job, State
from dlrun.views.tables import few

_REDRAW_EVERY = 0.25  # seconds
# Columns that are left to a terminal's ^C, which otherwise begins a line that Live cannot know.
_ECHO = 3
_COLOURS: dict[State, str] = {
    "completed": "green", "pruned": "blue", "running": "cyan", "elsewhere": "magenta",
    "interrupted": "yellow", "failed": "red", "waiting": "dim",
}  # fmt: skip
_SHOWN = {"elsewhere": "in another process", "waiting": "not started"}


class SweepView:
    """Prints what the pool does.

    Args:
        console: to print to.
        jobs: of the sweep.
        at_a_time: how many run together.
        lines_every: seconds between progress lines where there is no terminal.
    """

    whole, part = "sweep", "job"
    """What it is called, and what it consists of."""

    def __init__(
        self, console: Console, jobs: Sequence[Job], at_a_time: int, lines_every: float = 30.0
    ) -> None:
        self.console, self.jobs, self.at_a_time = console, jobs, at_a_time
        self.lines_every = lines_every
        self._drawn = self._line_at = time.monotonic()
        self._started: dict[int, float] = {}
        self._durations: list[float] = []
        self._said: dict[int, tuple[int, str]] = {}
        self.stopping = False
        self._live: Live | None = None
        if console.is_interactive:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "SweepView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, job: Job) -> None:
        """One line."""
        text = f"{job.state}: {job.label}"
        if job.state == "running":
            self._started[job.number] = time.monotonic()
            how = f"resumed at step {job.step} of {job.total}" if job.step else "started"
            text = f"{how}: {job.label}  ({job.folder})"
        elif job.state == "completed":
            if job.number in self._started:
                self._durations.append(time.monotonic() - self._started[job.number])
            before = " before" if job.ended_before else ""
            text = f"completed{before}: {job.label}  {job.result}"
        elif job.state == "elsewhere":
            text = f"is being trained by another process: {job.label}"
        elif job.state in ("pruned", "failed", "interrupted"):
            before = " before (sweep.retry=failed tries again)" if job.ended_before else ""
            text = f"{job.state}{before}: {job.label}: {job.reason}"
        self.say(f"{self.part} {job.number} {text}")
        if job.state == "failed" and str(job.folder) not in job.reason:
            self.say(f"  the traceback is in {job.folder}/log.txt")

    def refresh(self) -> None:
        """Redraws the live table, or prints a line now and then for each job that runs."""
        now = time.monotonic()
        if self._live is not None and now - self._drawn >= _REDRAW_EVERY:
            self._drawn = now
            title = Text(self.title(), style="italic")  # a table would fold it to its own width
            width = self.console.width - _ECHO
            self._live.update(Constrain(Group(title, self._table()), width), refresh=True)
        elif self._live is None and now - self._line_at >= self.lines_every:
            self._line_at = now
            for job in self.jobs:
                progress = job.step, job.result
                if job.state == "running" and job.total and self._said.get(job.number) != progress:
                    self._said[job.number] = progress
                    left = f", {_time(job.seconds_left)} left" if job.seconds_left else ""
                    at = f"step {job.step}/{job.total}{left}"
                    self.say(f"{self.part} {job.number} {at}  {job.result}")

    def say(self, text: str) -> None:
        """Prints one line, above the live table."""
        self.console.say(text.rstrip())

    def _table(self) -> Table:
        """The jobs that run, and their progress."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in (self.part, "state", "done", "val", "left"):
            table.add_column(name, no_wrap=name != self.part)
        shown = [job for job in self.jobs if job.state in ("running", "elsewhere")]
        for job in shown[: max(3, self.console.height - 6)]:
            done = f"{job.step / job.total:.0%}" if job.total else ""
            left = _time(job.seconds_left) if job.seconds_left is not None else ""
            label = Text(f"{job.number} {job.label}")
            table.add_row(label, _state(job), done, job.result, left)
        return table

    def counts(self) -> Counter[State]:
        """How many are in which state."""
        return Counter(job.state for job in self.jobs)

    def best(self) -> str:
        """The best so far; nothing for a sweep, whose jobs may measure different things."""
        return ""

    def title(self) -> str:
        """One line about all of it."""
        counts = self.counts()
        left = ", stopping" if self.stopping else ""
        if self._durations and not left:
            mean = sum(self._durations) / len(self._durations)
            running = sum(mean for job in self.jobs if job.state == "running") / 2
            left = f", about {_time((counts['waiting'] * mean + running) / self.at_a_time)} left"
        whole = f"{self.whole} of {counts.total()} {self.part}s"
        return f"{whole}: {listed(counts)}{left}{self.best()}"


def _state(job: Job) -> Text:
    return Text(_SHOWN.get(job.state, job.state), style=_COLOURS[job.state])


def print_table(jobs: Sequence[Job], console: Console) -> None:
    """Every job: how it ended, its best value on val or the reason, its folder; then the counts."""
    table = Table(title="sweep", title_justify="left")
    for column in ("job", "status", "result", "run"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        result = job.result if job.state == "completed" else job.reason.partition("\n")[0]
        table.add_row(Text(job.label), _state(job), Text(result), Text(str(job.folder)))
    console.print(table)
    console.say(counted(jobs))


def on_one_data(runs: Mapping[int, Run], part: str, anew: str, console: Console) -> bool:
    """Whether all complete runs saw the data that are there now; says which ones did not.

    Args:
        runs: by their number in the sweep.
        part: what each is called.
        anew: how they are trained anew; {} stands for their folders.
        console: to print to.
    """
    others = on_other_data(list(runs.values()))
    if others:
        numbers = few([str(number) for number, run in runs.items() if run in others])
        changed = next(iter(others.values()))
        folders = shlex.join(map(str, dict.fromkeys(run.folder for run in others)))
        console.say(
            f"{part} {numbers}: trained on other data than the latest ({changed}), which their "
            f"numbers do not compare with; to train anew: {anew.format(folders)}"
        )
    return not others


def counted(jobs: Sequence[Job]) -> str:
    """'85 completed, 10 failed, 5 interrupted'."""
    return listed(Counter(job.state for job in jobs))


def listed(counts: Counter[State]) -> str:
    """The same from numbers."""
    return ", ".join(f"{counts[s]} {_SHOWN.get(s, s)}" for s in _COLOURS if counts[s])


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
