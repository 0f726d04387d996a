"""`dlrun ls`: every run below a folder, in one table."""

import argparse
import json
import sys

from dlrun.commands.arguments import Parser
from dlrun.commands.selection import WHAT, add_forms, add_selection, selected

_ROWS = 50  # of the table, unless --limit or --all says otherwise
_HELP = f"""\
{WHAT}

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
of the last one. --json and --csv have all runs, the table the latest {_ROWS}."""


def run(arguments: list[str]) -> int:
    """Prints the table, JSON or CSV."""
    parser = Parser(
        prog="dlrun ls",
        description="List runs, those of sweeps too, oldest first.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser, at_least_one=False)
    parser.add_argument("--sort", metavar="KEY", help="by a key, lowest first")
    parser.add_argument("--reverse", action="store_true", help="in reverse order")
    rows = parser.add_mutually_exclusive_group()
    rows.add_argument("--limit", type=int, metavar="N", help="the last N; sorted, the first N")
    rows.add_argument("--all", action="store_true", help="every run in the table")
    add_forms(parser, "every config key")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.errors import UserError
    from dlrun.runs.filters import sort_runs
    from dlrun.runs.select import NothingSelected

    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit: got {options.limit}, expected 1 or more")
    is_table = not (options.json or options.csv)
    try:
        runs = selected(options).runs
    except NothingSelected as nothing:
        runs = []
        if is_table:
            print(nothing)
            return 0
    if options.sort:
        runs = sort_runs(runs, options.sort, options.reverse)
    elif options.reverse:
        runs = runs[::-1]
    limit, count = options.limit, len(runs)
    if limit is None and is_table and not options.all:
        limit = _ROWS
    if limit is not None:
        runs = runs[:limit] if options.sort or options.reverse else runs[-limit:]

    from dlrun.commands.console import make_console
    from dlrun.views.runs import print_runs
    from dlrun.views.tables import print_csv

    if options.json:
        print("[" + ",\n".join(json.dumps(run.values()) for run in runs) + "]")
    elif options.csv:
        print_csv([run.values() for run in runs])
    else:
        print_runs(runs, make_console())
        if options.limit is None and len(runs) < count:
            print(f"dlrun: {len(runs)} of {count:,} runs; --all shows them all", file=sys.stderr)
    return 0
