"""`dlrun leaderboard`: the best config of each method on a data set."""

import argparse
import difflib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dlrun.commands.arguments import Parser
from dlrun.commands.choosing import add_forms, chosen_runs

if TYPE_CHECKING:
    from dlrun.results.leaderboard import Place
    from dlrun.runs.record import Record

_HELP = """\
examples:
  dlrun leaderboard dataset=fashion_mini
  dlrun leaderboard dataset=cifar10 --metric knn
  dlrun leaderboard dataset=cifar10 'epochs<=20' model=resnet

Runs that differ only in their seed are taken together. Of each method the
config with the best mean val value of its key metric has the place, and its
test figure, of the checkpoints that val chose, is shown and put in order: the
test split chooses neither config nor checkpoint. Without --metric it is the
metric that most of the methods have."""


def run(arguments: list[str]) -> int:
    """Prints the places."""
    parser = Parser(
        prog="dlrun leaderboard",
        description="The best config of each method on a data set, chosen on val, told on test.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", metavar="FILTER | SWEEP", help="dataset=NAME and others")
    parser.add_argument("--outputs", default="outputs", help="where runs lie (%(default)s)")
    parser.add_argument("--metric", metavar="NAME", help="a figure of the test split")
    add_forms(parser, "a line a place")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.results.leaderboard import leaderboard

    runs = chosen_runs(options)
    _one_dataset(runs)
    metric = _metric(runs, options.metric)
    places = leaderboard(runs, metric)
    if options.json:
        print(json.dumps([_plain(place, metric) for place in places], indent=2))
    elif options.csv:
        from dlrun.commands.rows import print_csv

        print_csv([_plain(place, metric) for place in places])
    else:
        _print(runs, places, metric)
    return 0


def _one_dataset(runs: Sequence["Record"]) -> None:
    from dlrun.errors import UserError

    names = sorted({run.dataset for run in runs if run.state == "completed"})
    if len(names) > 1:
        raise UserError(
            f"these runs are of {len(names)} data sets, whose figures do not compare; choose with "
            f"dataset={names[0]} ({', '.join(names)})"
        )


def _metric(runs: Sequence["Record"], asked: str | None) -> str:
    from dlrun.errors import UserError
    from dlrun.results.leaderboard import metrics_of

    there = list(metrics_of(runs))
    if not there:
        states = sorted({run.state for run in runs})
        raise UserError(f"none of these runs has a figure to rank ({', '.join(states)})")
    if asked is None or asked in there:
        return asked or there[0]
    near = difflib.get_close_matches(asked, there, n=1)
    meant = f". Did you mean {near[0]}?" if near else f"; there are {', '.join(there)}"
    raise UserError(f"--metric {asked}: no figure of these runs that ranks{meant}")


def _print(runs: Sequence["Record"], places: Sequence["Place"], metric: str) -> None:
    from rich.markup import escape

    from dlrun.commands.compare_tables import cell, plain_table
    from dlrun.commands.console import make_console
    from dlrun.evaluation.metrics import describe

    console, kind = make_console(), describe(metric)
    table = plain_table(f"{places[0].group.runs[0].dataset}: {metric} {kind.arrow}, test split")
    for column in ("", "method", "model"):
        table.add_column(column, overflow="fold")
    for column in ("test", "n", "chosen by val", "of", "a run"):
        table.add_column(column, justify="left" if column == "a run" else "right", overflow="fold")
    for i, place in enumerate(places):
        val = f"{place.key_metric} {cell(place.val, describe(place.key_metric).form)}"
        cells = [
            str(i + 1), place.method, str(place.group.config.get("model.name", "?")),
            cell(place.test, kind.form), str(place.test.n), val, str(place.configs),
            place.group.runs[0].name,
        ]  # fmt: skip
        table.add_row(*map(escape, cells))
    console.print(table)
    console.print()
    for line in _notes(runs, places):
        console.print(line, highlight=False, markup=False)


def _notes(runs: Sequence["Record"], places: Sequence["Place"]) -> list[str]:
    from dlrun.results.seeds import differences

    lines = ["n: runs, one a seed, ± their standard deviation; of: configs among which val chose"]
    single = [place.method for place in places if place.test.n < 2]
    if single:
        lines.append(f"one run says nothing of the seeds' spread: {', '.join(single)}")
    apart = differences([place.group.config for place in places])
    data = [key for key in apart if key.split(".")[0] == "dataset"]
    if data:
        lines.append(f"not the same images everywhere: {', '.join(data)} differ")
    left = sum(1 for run in runs if run.state != "completed")
    if left:
        lines.append(f"{left} of {len(runs)} runs are not complete and do not count")
    return lines


def _plain(place: "Place", metric: str) -> dict[str, Any]:
    return {
        "method": place.method,
        "metric": metric,
        "split": "test",
        "which": "best",
        "mean": place.test.mean,
        "std": place.test.std,
        "n": place.test.n,
        "chosen_by": f"val/{place.key_metric}",
        "val_mean": place.val.mean,
        "val_std": place.val.std,
        "configs": place.configs,
        "seeds": place.group.seeds,
        "runs": [run.path for run in place.group.runs],
    }
