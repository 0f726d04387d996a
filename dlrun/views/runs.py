"""`dlrun ls`: a row for each run."""

from collections.abc import Sequence

from rich.text import Text

from dlrun.console import Console
from dlrun.runs.run import Run
from dlrun.views.tables import plain_table

_COLOURS = {
    "completed": "green", "running": "cyan", "pruned": "blue", "interrupted": "yellow",
    "failed": "red",
}  # fmt: skip
_NO_EDGE = 10_000  # characters, where there is no terminal


def print_runs(runs: Sequence[Run], console: Console) -> None:
    """The table; on a narrow screen the data sets' names are cut."""
    table = plain_table()
    for name in ("run", "status", "method", "data set", "seed", "best on val"):
        table.add_column(name, no_wrap=name != "data set", overflow="ellipsis")
    for run in runs:
        done = "" if run.is_complete else f" {run.step / max(1, run.total):.0%}"
        table.add_row(
            Text(run.name),
            Text(f"{run.state}{done}", _COLOURS.get(run.state, "")),
            Text(run.method),
            Text(run.dataset),
            "" if run.seed is None else str(run.seed),
            "" if run.best_val is None else Text(f"{run.key_metric} {run.best_val:.4g}"),
        )
    if not console.is_terminal:
        console.width = _NO_EDGE
    console.print(table)
