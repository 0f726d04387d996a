"""`dlrun leaderboard`: the best config of each method on a data set."""

import argparse
import json

from dlrun.commands.arguments import Parser
from dlrun.commands.selection import WHAT, add_forms, add_selection, selected

_HELP = f"""\
{WHAT}

examples:
  dlrun leaderboard dataset=fashion_mini
  dlrun leaderboard dataset=cifar10 --metric knn
  dlrun leaderboard dataset=cifar10 'epochs<=20' model=resnet

Runs that differ only in their seed are taken together. The config of each
method with the best mean of its key metric on val is its entry; entries are
ranked by the test split, at the checkpoints that val chose: the test split
chooses neither config nor checkpoint. Without --metric it is the metric that
most methods have."""


def run(arguments: list[str]) -> int:
    """Prints the ranking."""
    parser = Parser(
        prog="dlrun leaderboard",
        description="The best config of each method on a data set: chosen on val, shown on test.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser, at_least_one=False)
    parser.add_argument("--metric", metavar="NAME", help="a metric of the test split")
    add_forms(parser, "a line for each method")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.runs.leaderboard import demand_one_dataset, leaderboard, metric_to_rank
    from dlrun.views.leaderboard import as_rows, print_leaderboard
    from dlrun.views.tables import print_csv

    runs = selected(options).runs
    demand_one_dataset(runs)
    metric = metric_to_rank(runs, options.metric)
    ranks = leaderboard(runs, metric)
    if options.json:
        print(json.dumps(as_rows(ranks, metric), indent=2))
    elif options.csv:
        print_csv(as_rows(ranks, metric))
    else:
        print_leaderboard(runs, ranks, metric, make_console())
    return 0
