"""`dlrun compare`: what differs between runs, and what they reached."""

import argparse
import json

from dlrun.commands.arguments import Parser
from dlrun.commands.selection import WHAT, add_forms, add_selection, selected

_HELP = f"""\
{WHAT}

examples:
  dlrun compare 261126-0201 last           two runs, by beginnings of names
  dlrun compare losses                     every run of the sweep of that name
  dlrun compare losses seed=0,1,2 --metric accuracy
  dlrun compare method=byol,siamese dataset=cifar10
                                             filters alone choose among all runs

Runs that differ only in their seed are one column: mean ± standard deviation
(n - 1), and n. `best` is the checkpoint that the val split chose, `last` the
end of training. Unfinished runs are excluded. Where two columns share two seeds
or more, the other columns are compared with A: the mean difference over these
seeds, its 95% interval, and the p of a paired t-test, not corrected for the
number of tests."""


def run(arguments: list[str]) -> int:
    """Prints what differs and the numbers."""
    parser = Parser(
        prog="dlrun compare",
        description="Runs side by side: the config keys that differ, then the numbers.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME",
        help="only this metric; may be repeated",
    )
    add_forms(parser, "a line for each number")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.runs.compare import compare
    from dlrun.runs.groups import by_seed, differences
    from dlrun.views.comparison import as_csv, as_json, print_comparison
    from dlrun.views.tables import print_csv

    groups = by_seed(selected(options).runs)
    changed = differences([group.config for group in groups])
    rows = compare(groups, options.metric)
    if options.json:
        print(json.dumps(as_json(groups, changed, rows), indent=2))
    elif options.csv:
        print_csv(as_csv(groups, changed, rows))
    else:
        print_comparison(groups, changed, rows, bool(options.metric), make_console())
    return 0
