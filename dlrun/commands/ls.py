"""`dlrun ls`: every run below a folder, in one table."""

import argparse
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.arguments import Parser
from dlrun.commands.choosing import add_forms

if TYPE_CHECKING:
    from rich.console import Console

    from dlrun.runs.record import Record

_HELP = """\
examples:
  dlrun ls                                   all below outputs, oldest first
  dlrun ls method=byol status=failed         both must hold
  dlrun ls status=failed,interrupted         one of several
  dlrun ls 'optimizer.lr<0.01' 'test.accuracy>0.9'
                                             compared as numbers (quote < and >)
  dlrun ls losses --sort val.best --reverse  one sweep, highest first
  dlrun ls --sort seconds --limit 5 --csv

keys: any of config.yaml (seed, optimizer.lr, model, ...); status, run, done,
step, seconds; val.best; test.METRIC of the best checkpoint, test.last.METRIC
of the last one."""
_HEADER = ("run", "status", "method", "data set", "seed", "best on val")
_COLOURS = {
    "completed": 32, "running": 36, "pruned": 34, "interrupted": 33, "failed": 31,
}  # fmt: skip  # ANSI


def run(arguments: list[str]) -> int:
    """Prints the table, JSON or CSV."""
    parser = Parser(
        prog="dlrun ls",
        description="List runs, those of sweeps too, oldest first.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what", nargs="*", help="a folder or the name of a sweep, and filters such as method=byol"
    )
    parser.add_argument("--outputs", default="outputs", help="where runs lie (%(default)s)")
    parser.add_argument("--sort", metavar="KEY", help="by a key, lowest first")
    parser.add_argument("--reverse", action="store_true", help="the list the other way round")
    parser.add_argument("--limit", type=int, metavar="N", help="the last N; sorted, the first N")
    add_forms(parser, "every config key")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.errors import UserError
    from dlrun.results.filters import is_filter, parse_filter

    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit: got {options.limit}, expected 1 or more")
    filters = [parse_filter(text) for text in options.what if is_filter(text)]
    places = [text for text in options.what if not is_filter(text)]
    if len(places) > 1:
        raise UserError(f"{places[1]}: one folder at a time; a filter has an =, such as seed=0")
    place = _place(places[0] if places else None, options.outputs)
    _list(place, filters, options)
    return 0


def _place(given: str | None, outputs: str) -> Path:
    from dlrun.errors import UserError

    if given is None or Path(given).is_dir():
        place = Path(given or outputs)
        if place.is_dir():
            return place
        raise UserError(f"{place}: no such folder; runs are made by `dlrun train`")
    sweep = Path(outputs) / "sweeps" / given
    if sweep.is_dir():
        return sweep
    raise UserError(
        f"{given}: no such folder, nor a sweep below {outputs}; runs are made by `dlrun train`, "
        "and a filter has an =, such as status=failed"
    )


def _list(place: Path, filters: Sequence[Any], options: argparse.Namespace) -> None:
    from dlrun.results.filters import chosen, nothing_found, sort_key
    from dlrun.runs.cache import records

    everything, trouble = records(place)
    if trouble:
        print(f"dlrun: {trouble}", file=sys.stderr)
    runs = chosen(everything, filters)
    if options.sort:
        runs = sort_key(runs, options.sort, options.reverse)
    elif options.reverse:
        runs = runs[::-1]
    if options.limit:
        first = options.sort or options.reverse
        runs = runs[: options.limit] if first else runs[-options.limit :]
    if options.json:
        import json

        print(json.dumps([_row(run) for run in runs], indent=2))
        return
    if options.csv:
        from dlrun.commands.rows import print_csv

        print_csv([_wide(run) for run in runs])
        return

    from dlrun.commands.console import make_console

    console = make_console()
    if not everything:
        console.print(f"no run below {place} yet; `dlrun train` makes one")
    elif not runs:
        console.print(nothing_found(everything, filters), highlight=False, markup=False)
    else:
        print("\n".join(_table(runs, console)))


def _table(runs: Sequence["Record"], console: "Console") -> list[str]:
    from dlrun.commands.columns import columns

    coloured = console.is_terminal and console.color_system is not None

    def paint(column: int, cell: str) -> str:
        colour = _COLOURS.get(cell.partition(" ")[0]) if coloured and column == 1 else None
        return f"\x1b[{colour}m{cell}\x1b[0m" if colour else cell

    width = console.width if console.is_terminal else 10_000
    return columns(_HEADER, [_cells(run) for run in runs], width, shorten=3, paint=paint)


def _cells(run: "Record") -> tuple[str, ...]:
    done = "" if run.state == "completed" else f" {run.step / max(1, run.total):.0%}"
    best = "" if run.best_val is None else f"{run.key_metric} {run.best_val:.4g}"
    seed = run.config.get("seed")
    return (
        run.name,
        f"{run.state}{done}",
        run.method,
        run.dataset,
        "" if seed is None else str(seed),
        best,
    )


def _row(run: "Record") -> dict[str, Any]:
    return {
        "run": run.name,
        "folder": run.path,
        "status": run.state,
        "reason": run.reason,
        "method": run.method,
        "dataset": run.dataset,
        "seed": run.config.get("seed"),
        "step": run.step,
        "total": run.total,
        "metric": run.key_metric,
        "best": run.best_val,
        "started": f"{datetime.fromtimestamp(run.started):%m-%d %H:%M}" if run.started else "",
    }


def _wide(run: "Record") -> dict[str, Any]:
    test = {
        f"test.{which}.{name}": value
        for which in ("last", "best")
        for name, value in run.test(which).items()
    }
    return {**_row(run), "seconds": run.summary.get("seconds"), **test, **run.config}
