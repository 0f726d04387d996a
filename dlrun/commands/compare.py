"""`dlrun compare`: what differs between runs, and what came of it."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dlrun.commands.arguments import Parser
from dlrun.commands.choosing import add_forms, chosen_runs

if TYPE_CHECKING:
    from dlrun.results.comparison import Row
    from dlrun.results.seeds import Group

_HELP = """\
examples:
  dlrun compare 261126-0201 last           two runs, by beginnings of names
  dlrun compare losses                     every run of the sweep of that name
  dlrun compare losses seed=0,1,2 --metric accuracy
  dlrun compare method=byol,siamese dataset=cifar10
                                             filters alone choose among all runs

Runs that differ only in their seed are one column: mean ± standard deviation
(n - 1), and n. `best` is of the checkpoint that the val split chose, `last` of
the end of training. Runs that are not complete are in no figure. Where two
columns have two seeds or more in common, the rest is held against A: mean
difference over these seeds, its 95% interval, and the p of a paired t-test, not
corrected for how many are asked."""
_SIDE_BY_SIDE = 3  # more groups than these stand below each other


def run(arguments: list[str]) -> int:
    """Prints what differs and the figures."""
    parser = Parser(
        prog="dlrun compare",
        description="Runs side by side: config differences only, then the figures.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", metavar="RUN | SWEEP | FILTER", help="see below")
    parser.add_argument("--outputs", default="outputs", help="where runs lie (%(default)s)")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="this one alone; may be given again",
    )
    add_forms(parser, "a line a figure")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.results.comparison import compare
    from dlrun.results.seeds import by_seed, differences

    groups = by_seed(chosen_runs(options))
    changed = differences([group.config for group in groups])
    rows = compare(groups, options.metric)
    if options.json:
        print(json.dumps(_plain(groups, changed, rows), indent=2))
    elif options.csv:
        from dlrun.commands.rows import print_csv

        print_csv(_lines(groups, changed, rows))
    else:
        _print(groups, changed, rows, bool(options.metric))
    return 0


def _print(
    groups: Sequence["Group"], changed: dict[str, list[str]], rows: Sequence["Row"], asked: bool
) -> None:
    from dlrun.commands.compare_tables import side_by_side, stacked, what_differs, who
    from dlrun.commands.console import make_console
    from dlrun.results.comparison import labels

    console = make_console()
    names = labels(len(groups))
    more: list[str] = []
    if len(groups) <= _SIDE_BY_SIDE:
        for name, group in zip(names, groups, strict=True):
            console.print(f"{name}: {who(group)}", highlight=False, markup=False)
        console.print()
        if changed:
            console.print(what_differs(names, changed))
            console.print()
        elif len(groups) > 1:
            console.print("no config key differs that has a part in the computation\n")
        for table in side_by_side(names, [len(group.runs) for group in groups], rows):
            console.print(table)
    else:
        table, more = stacked(names, groups, changed, _fitting(groups, rows, asked))
        console.print(table)
    console.print()
    for line in more + _notes(names, groups, rows, len(groups) <= _SIDE_BY_SIDE):
        console.print(line, highlight=False, markup=False)


def _fitting(groups: Sequence["Group"], rows: Sequence["Row"], asked: bool) -> list["Row"]:
    """The figures that have room where groups stand below each other."""
    keys = {run.key_metric for group in groups for run in group.runs} - {None}
    shown = [row for row in rows if asked or row.figure.metric in keys]
    best = [row for row in shown if row.figure.which == "best"]
    test = [row for row in best if row.figure.split == "test"]
    return test if len(keys) > 1 and not asked else best


def _notes(
    names: Sequence[str], groups: Sequence["Group"], rows: Sequence["Row"], tests_shown: bool
) -> list[str]:
    lines = []
    for name, group in zip(names, groups, strict=True):
        if cut := group.incomplete:
            told = ", ".join(f"{run.name} {run.state} at step {run.step}" for run in cut[:3])
            more = f" and {len(cut) - 3} more" if len(cut) > 3 else ""
            lines.append(f"{name}: not complete, in no figure: {told}{more}")
        if group.doubles:
            left = ", ".join(run.name for run in group.doubles[:3])
            lines.append(f"{name}: the same seed again, counted once, left out: {left}")
    lines.append("best: the checkpoint that val chose; last: the end of training")
    if any(told and told.std is not None for row in rows for told in row.groups):
        lines.append("±: standard deviation over seeds")
    told_tests = [test for row in rows for test in row.tests if test]
    tests = sum(1 for test in told_tests if test.p is not None)
    if tests_shown and tests < len(told_tests):
        lines.append("p -: no test, since the difference is the same for all seeds in common")
    if tests and tests_shown:
        lines.append(
            "p: paired t-test over the seeds in common, with the 95% interval; chance alone puts "
            f"one in 20 of such tests below 0.05, and here are {tests}"
        )
    if not tests_shown:
        lines.append("--metric NAME shows another metric; --json has the paired tests against A")
    return lines


def _plain(
    groups: Sequence["Group"], changed: dict[str, list[str]], rows: Sequence["Row"]
) -> dict[str, Any]:
    from dlrun.results.comparison import labels

    names = labels(len(groups))
    return {
        "groups": {
            name: {
                "runs": [run.path for run in group.runs],
                "seeds": group.seeds,
                "incomplete": [run.path for run in group.incomplete],
                "left_out": [run.path for run in group.doubles],
            }
            for name, group in zip(names, groups, strict=True)
        },
        "differences": {
            key: dict(zip(names, values, strict=True)) for key, values in changed.items()
        },
        "figures": {
            str(row.figure): {
                name: {
                    **(asdict(told) if told else {"n": 0}),
                    "against_A": asdict(test) if test else None,
                }
                for name, told, test in zip(names, row.groups, row.tests, strict=True)
            }
            for row in rows
        },
    }


def _lines(
    groups: Sequence["Group"], changed: dict[str, list[str]], rows: Sequence["Row"]
) -> list[dict[str, Any]]:
    from dlrun.results.comparison import labels

    lines = []
    for i, name in enumerate(labels(len(groups))):
        values = {key: own[i] for key, own in changed.items()}
        for row in rows:
            told, test = row.groups[i], row.tests[i]
            if told is not None:
                figure = {
                    "split": row.figure.split,
                    "which": row.figure.which,
                    "metric": row.figure.metric,
                }
                tested = {f"against_A_{k}": v for k, v in asdict(test).items()} if test else {}
                lines.append({"group": name, **values, **figure, **asdict(told), **tested})
    return lines
