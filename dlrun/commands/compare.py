"""`dlrun compare`: runs side by side, those that differ in their seed taken together."""

import json

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Prints what differs and the metrics."""
    options = parse("compare", arguments)

    from dlrun.console import Console
    from dlrun.runs.comparison import compare
    from dlrun.runs.groups import by_seed, differences
    from dlrun.runs.select import select
    from dlrun.views.comparison import as_csv, as_json, print_comparison
    from dlrun.views.tables import print_csv

    groups = by_seed(select(options.what, options.outputs).runs)
    changed = differences([group.config for group in groups])
    rows = compare(groups, options.metric)
    if options.json:
        print(json.dumps(as_json(groups, changed, rows), indent=2))
    elif options.csv:
        print_csv(as_csv(groups, changed, rows))
    else:
        print_comparison(groups, changed, rows, bool(options.metric), Console())
    return 0
