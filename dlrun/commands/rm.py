"""`dlrun rm`: deletes runs, and says first what speaks against it."""

import argparse
from pathlib import Path

from dlrun.commands.arguments import Parser
from dlrun.commands.selection import WHAT, add_selection, selected

_HELP = f"""\
{WHAT}

examples:
  dlrun rm 261126-0201                     by the beginning of its name
  dlrun rm losses seed=7                   of a sweep, those with seed 7
  dlrun rm status=failed --dry-run           what it would be

A run that is being trained is never deleted. One that the config of another
run names (a student its teacher) is, after a line that says so: what a run
needs of another is in its own folder. Of a job that two sweeps share, the one
that has only a link to it loses the link; with the run itself all links to it
are deleted, after a line that says which sweeps lose it."""


def run(arguments: list[str]) -> int:
    """Deletes; 1 where something could not be."""
    parser = Parser(
        prog="dlrun rm",
        description="Delete runs with everything in their folders.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask: for scripts")
    parser.add_argument("--dry-run", "-n", action="store_true", help="list and delete nothing")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.runs.removal import selected_items
    from dlrun.runs.run import runs_below
    from dlrun.views.deletion import delete

    items, notes = selected_items(selected(options), runs_below(Path(options.outputs)))
    return delete(items, notes, options.dry_run, options.yes, make_console())
