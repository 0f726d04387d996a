"""What a person sees of a sweep: a live table, or lines without a terminal, and the final table."""

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dlrun.sweeps.plan import Job, State

_LINES_EVERY = 30.0  # seconds between progress lines where there is no terminal
_REDRAW_EVERY = 0.25  # seconds
# Columns that are left to a terminal's ^C, which else begins a line that Live cannot know.
_ECHO = 3
_COLOURS: dict[State, str] = {
    "completed": "green", "pruned": "blue", "running": "cyan", "elsewhere": "magenta",
    "interrupted": "yellow", "failed": "red", "waiting": "dim",
}  # fmt: skip
_TOLD = {"elsewhere": "another process", "waiting": "not begun"}


class SweepView:
    """Told by the pool; prints."""

    whole, part = "sweep", "job"
    """What it is called and what it consists of."""

    def __init__(self, console: Console, jobs: Sequence[Job], at_a_time: int) -> None:
        self.console, self.jobs, self.at_a_time = console, jobs, at_a_time
        self._began = self._drawn = self._line_at = time.monotonic()
        self._started: dict[int, float] = {}
        self._took: list[float] = []
        self._said: dict[int, tuple[int, str]] = {}
        self.stopping = False
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "SweepView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, job: Job) -> None:
        """One line."""
        if job.state == "running":
            self._started[job.number] = time.monotonic()
            begun = f"goes on at step {job.step} of {job.total}" if job.step else "started"
            self.say(f"{self.part} {job.number} {begun}: {job.label}  ({job.folder})")
        elif job.state == "completed":
            if job.number in self._started:
                self._took.append(time.monotonic() - self._started[job.number])
            done = "done before" if job.before else "completed"
            self.say(f"{self.part} {job.number} {done}: {job.label}  {figure(job)}".rstrip())
        elif job.state == "elsewhere":
            told = "is being trained by another process"
            self.say(f"{self.part} {job.number} {told}: {job.label}")
        elif job.state in ("pruned", "failed", "interrupted"):
            earlier = " before (sweep.retry=failed tries again)" if job.before else ""
            self.say(f"{self.part} {job.number} {job.state}{earlier}: {job.label}: {job.reason}")
            if job.state == "failed" and str(job.folder) not in job.reason:
                self.say(f"  the traceback stands in {job.folder}/log.txt")

    def refresh(self) -> None:
        """The live table, or now and then a line for each job that runs."""
        now = time.monotonic()
        if self._live is not None and now - self._drawn >= _REDRAW_EVERY:
            self._drawn = now
            title = Text(self._title(), style="italic")  # a table would fold it to its own width
            width = self.console.width - _ECHO
            self._live.update(Constrain(Group(title, self._table()), width), refresh=True)
        elif self._live is None and now - self._line_at >= _LINES_EVERY:
            self._line_at = now
            for job in self.jobs:
                stands = job.step, figure(job)
                news = self._said.get(job.number) != stands
                if job.state == "running" and job.total and news:
                    self._said[job.number] = stands
                    left = f", {_time(job.seconds_left)} left" if job.seconds_left else ""
                    at = f"step {job.step}/{job.total}{left}"
                    self.say(f"{self.part} {job.number} {at}  {figure(job)}")

    def say(self, text: str) -> None:
        """One line, above the live table."""
        self.console.print(text.rstrip(), highlight=False, markup=False)

    def _table(self) -> Table:
        """What runs, and how far it has come."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        for name in (self.part, "state", "done", "figure", "left"):
            table.add_column(name, no_wrap=name != self.part)
        shown = [job for job in self.jobs if job.state in ("running", "elsewhere")]
        for job in shown[: max(3, self.console.height - 6)]:
            done = f"{job.step / job.total:.0%}" if job.total else ""
            state = Text(_TOLD.get(job.state, job.state), style=_COLOURS[job.state])
            left = _time(job.seconds_left) if job.seconds_left is not None else ""
            table.add_row(Text(f"{job.number} {job.label}"), state, done, figure(job), left)
        return table

    def counts(self) -> Counter[State]:
        """How many are in which state."""
        return Counter(job.state for job in self.jobs)

    def best(self) -> str:
        """What has been found so far; of a sweep nothing, its jobs may measure different things."""
        return ""

    def _title(self) -> str:
        counts = self.counts()
        left = ", stopping" if self.stopping else ""
        if self._took and not left:
            mean = sum(self._took) / len(self._took)
            running = sum(mean for job in self.jobs if job.state == "running") / 2
            left = f", about {_time((counts['waiting'] * mean + running) / self.at_a_time)} left"
        whole = f"{self.whole} of {counts.total()} {self.part}s"
        return f"{whole}: {listed(counts)}{left}{self.best()}"


def figure(job: Job) -> str:
    """'val accuracy 0.91', or nothing yet."""
    if job.key_metric is None or job.value is None:
        return ""
    return f"val {job.key_metric} {job.value:.4g}"


def final_table(jobs: Sequence[Job]) -> Table:
    """Every job: how it ended, its best figure on val or the reason, its folder."""
    table = Table(title="sweep", title_justify="left")
    for column in ("job", "status", "figure", "run"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        state = Text(_TOLD.get(job.state, job.state), style=_COLOURS[job.state])
        told = figure(job) if job.state == "completed" else job.reason.partition("\n")[0]
        table.add_row(Text(job.label), state, Text(told), Text(str(job.folder)))
    return table


def counted(jobs: Sequence[Job]) -> str:
    """'85 completed, 10 failed, 5 interrupted'."""
    return listed(Counter(job.state for job in jobs))


def listed(counts: Counter[State]) -> str:
    """The same of numbers."""
    return ", ".join(f"{counts[s]} {_TOLD.get(s, s)}" for s in _COLOURS if counts[s])


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
