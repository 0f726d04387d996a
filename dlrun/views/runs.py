"""`dlrun ls`: a row for each run."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from dlrun.console import Console
from dlrun.runs.run import Run
from dlrun.text import printable

_HEAD = ("run", "status", "method", "data set", "seed", "best on val")
_CUT = _HEAD.index("data set")
_COLOURS = {
    "completed": 32, "running": 36, "pruned": 34, "interrupted": 33, "lost": 33, "failed": 31,
}  # fmt: skip  # ANSI


def print_runs(runs: Sequence[Run], console: Console) -> None:
    """The table; on a narrow screen the data sets' names are cut.

    It is padded here because rich takes a millisecond for each row.
    """
    rows = [_HEAD, *map(_cells, runs)]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    if console.is_terminal:  # a file has no edge
        too_wide = sum(widths) + 2 * (len(widths) - 1) - console.width
        widths[_CUT] = max(4, widths[_CUT] - max(0, too_wide))
    for row, run in zip(rows, (None, *runs), strict=True):
        cells = [
            set_cell_size(text, width) if cell_len(text) <= width else f"{text[: width - 1]}…"
            for text, width in zip(row, widths, strict=True)
        ]
        colour = _COLOURS.get(run.state) if run else None
        if colour and console.is_coloured:
            cells[1] = f"\x1b[{colour}m{cells[1]}\x1b[0m"
        print("  ".join(cells).rstrip(), file=console.file)
        if run is None:
            print("─" * (sum(widths) + 2 * (len(widths) - 1)), file=console.file)


def _cells(run: Run) -> tuple[str, ...]:
    status, best = run.status, run.best_val
    done = "" if run.is_complete else f" {status.step / max(1, status.total):.0%}"
    return (
        printable(run.name), f"{run.state}{done}", printable(run.method), printable(run.dataset),
        "" if run.seed is None else str(run.seed),
        "" if best is None else f"{run.key_metric} {best:.4g}",
    )  # fmt: skip
