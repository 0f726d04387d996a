"""`dlrun plot`: curves of runs, in the terminal and as a file."""

import argparse
from pathlib import Path

from dlrun.commands.arguments import Parser
from dlrun.commands.selection import WHAT, add_selection, selected

_HELP = f"""\
{WHAT}

examples:
  dlrun plot last
  dlrun plot losses --metric train/loss --over seconds
  dlrun plot method=byol,vae dataset=cifar10 --metric val/knn --out knn.png
  dlrun plot losses --out curves.html      the picture and its numbers

Runs that differ only in their seed are one curve, their mean, with a band of
one standard deviation to either side. A curve is of the complete runs, at the
steps that all of them have; where none is complete, of those there are. Over
seconds, a point is at the mean time that the seeds took to its step."""
_HEIGHT, _MOST_CURVES = 16, 12


def run(arguments: list[str]) -> int:
    """Draws."""
    parser = Parser(
        prog="dlrun plot",
        description="Curves over steps or seconds, in the terminal or as a file.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument("--metric", metavar="NAME", help="such as val/knn (val of the key metric)")
    parser.add_argument("--over", choices=("steps", "seconds"), default="steps")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="FILE.png, .svg, .pdf or .html"
    )
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.runs.curves import curves, key_metric
    from dlrun.runs.groups import by_seed
    from dlrun.views.braille import print_curves
    from dlrun.views.figure import check_ending, write_figure
    from dlrun.views.tables import say

    if options.out is not None:
        check_ending(options.out)
    groups, console = by_seed(selected(options).runs), make_console()
    metric = options.metric or key_metric(groups)
    found = curves(groups, metric)
    if options.out is not None:
        write_figure(found, metric, options.over, options.out)
        say(console, f"written: {options.out}")
        return 0
    shown = found[:_MOST_CURVES]
    print_curves(shown, metric, options.over, _HEIGHT, console)
    if len(found) > len(shown):
        say(console, f"{len(found) - len(shown)} more curves are not drawn; filters choose")
    if without := len(groups) - len(found):
        say(console, f"{without} of {len(groups)} have no {metric} at a step of all their seeds")
    return 0
