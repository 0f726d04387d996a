"""`dlrun plot`: curves in the terminal or in a file."""

from dlrun.commands.parsers import parse
from dlrun.errors import UserError

_HEIGHT, _MOST_CURVES = 16, 12


def run(arguments: list[str]) -> int:
    """Draws them."""
    options = parse("plot", arguments)

    from dlrun.console import Console
    from dlrun.runs.curves import curves, key_metric
    from dlrun.runs.groups import by_seed
    from dlrun.runs.select import select
    from dlrun.views.curves import ENDINGS, print_curves, write_figure

    if options.out is not None and options.out.suffix.lower() not in ENDINGS:
        endings = ", ".join(ENDINGS)
        raise UserError(f"--out {options.out}: expected a name that ends in {endings}")
    groups, console = by_seed(select(options.what, options.outputs).runs), Console()
    metric = options.metric or key_metric(groups)
    found = curves(groups, metric)
    if options.out is not None:
        write_figure(found, metric, options.over, options.out)
        console.say(f"written: {options.out}")
        return 0
    shown = found[:_MOST_CURVES]
    print_curves(shown, metric, options.over, _HEIGHT, console)
    if len(found) > len(shown):
        console.say(f"{len(found) - len(shown)} more curves are not drawn; filters choose")
    if without := len(groups) - len(found):
        console.say(f"{without} of {len(groups)} have no {metric} at a step of all their seeds")
    return 0
