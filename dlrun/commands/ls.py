"""`dlrun ls`: runs in a table, filtered and sorted."""

import json
import sys

from dlrun.commands.parsers import parse

_ROWS = 50  # of the table, unless --limit or --all says otherwise


def run(arguments: list[str]) -> int:
    """Prints the table, JSON or CSV."""
    options = parse("ls", arguments)

    from dlrun.runs.filters import NothingSelected, sort_runs
    from dlrun.runs.select import select

    is_table = not (options.json or options.csv)
    try:
        runs = select(options.what, options.outputs).runs
    except NothingSelected as nothing:
        runs = []
        if options.sort:
            sort_runs(nothing.among, options.sort)  # or a wrong key passes unseen
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

    from dlrun.console import Console
    from dlrun.views.runs import print_runs
    from dlrun.views.tables import print_csv

    if options.json:
        print("[" + ",\n".join(json.dumps(run.values()) for run in runs) + "]")
    elif options.csv:
        print_csv([run.values() for run in runs])
    else:
        print_runs(runs, Console())
        if options.limit is None and len(runs) < count:
            print(f"dlrun: {len(runs)} of {count:,} runs; --all shows them all", file=sys.stderr)
    return 0
