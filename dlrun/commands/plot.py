"""`dlrun plot`: curves of runs, in the terminal and as a file."""

import argparse
from pathlib import Path

from dlrun.commands.arguments import Parser
from dlrun.commands.choosing import chosen_runs

_HELP = """\
examples:
  dlrun plot last
  dlrun plot losses --metric train/loss --over seconds
  dlrun plot method=byol,vae dataset=cifar10 --metric val/knn --out knn.png
  dlrun plot losses --out curves.html      the picture and its numbers

Runs that differ only in their seed are one curve, their mean, with a band of
one standard deviation to either side. Over seconds, a point lies where the
seeds were on average at its step."""
_HEIGHT, _MOST_CURVES = 16, 12


def run(arguments: list[str]) -> int:
    """Draws."""
    parser = Parser(
        prog="dlrun plot",
        description="Curves over steps or seconds, in the terminal or as a file.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", metavar="RUN | SWEEP | FILTER", help="see below")
    parser.add_argument("--outputs", default="outputs", help="where runs lie (%(default)s)")
    parser.add_argument("--metric", metavar="NAME", help="such as val/knn (val of the key metric)")
    parser.add_argument("--over", choices=("steps", "seconds"), default="steps")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="FILE.png, .svg, .pdf or .html"
    )
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.results.braille import draw
    from dlrun.results.curves import curves, key_metric
    from dlrun.results.figure import check_ending, write_figure
    from dlrun.results.seeds import by_seed

    if options.out is not None:
        check_ending(options.out)
    groups = by_seed(chosen_runs(options))
    metric = options.metric or key_metric(groups)
    found = curves(groups, metric, options.over)
    console = make_console()
    if options.out is not None:
        write_figure(found, metric, options.over, options.out)
        console.print(f"written: {options.out}", highlight=False, markup=False)
        return 0
    coloured = console.is_terminal and console.color_system is not None
    shown = found[:_MOST_CURVES]
    for line in draw(shown, metric, options.over, min(console.width, 100), _HEIGHT, coloured):
        print(line)
    without = len(groups) - len(found)
    if len(found) > len(shown):
        print(f"{len(found) - len(shown)} more curves are not drawn; filters choose")
    if without:
        print(f"{without} of {len(groups)} have no {metric} that all their seeds share")
    return 0
