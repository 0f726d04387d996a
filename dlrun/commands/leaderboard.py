"""`dlrun leaderboard`: the best config of each method on a data set."""

import json

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Prints the ranking."""
    options = parse("leaderboard", arguments)

    from dlrun.console import Console
    from dlrun.runs.comparison import leaderboard, metric_to_rank
    from dlrun.runs.select import select
    from dlrun.views.comparison import as_rows, print_leaderboard
    from dlrun.views.tables import print_csv

    runs = select(options.what, options.outputs).runs
    runs = [run for run in runs if run.config] or runs  # the others have said what is damaged
    metric = metric_to_rank(runs, options.metric)
    ranks = leaderboard(runs, metric)
    if options.json:
        print(json.dumps(as_rows(ranks, metric), indent=2))
    elif options.csv:
        print_csv(as_rows(ranks, metric))
    else:
        print_leaderboard(runs, ranks, metric, Console())
    return 0
