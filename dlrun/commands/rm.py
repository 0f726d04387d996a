"""`dlrun rm`: deletes runs, and says first what speaks against it."""

import argparse
import os
import sys
from pathlib import Path

from dlrun.commands.arguments import Parser

_HELP = """\
examples:
  dlrun rm 261126-0201                     by the beginning of its name
  dlrun rm losses seed=7                   of a sweep, those with seed 7
  dlrun rm status=failed --dry-run           what it would be

A run that is being trained is never deleted. One that the config of another
run names (a student its teacher) is, after a line that says so: what a run
needs of another lies in its own folder."""


def run(arguments: list[str]) -> int:
    """Deletes; 1 where something could not be."""
    parser = Parser(
        prog="dlrun rm",
        description="Delete runs with everything in their folders.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", metavar="RUN | SWEEP | FILTER", help="see below")
    parser.add_argument("--outputs", default="outputs", help="where runs lie (%(default)s)")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask: for scripts")
    parser.add_argument("--dry-run", "-n", action="store_true", help="list and delete nothing")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.commands.removing import carry_out
    from dlrun.errors import UserError
    from dlrun.results.removal import Item, size_of, users_of
    from dlrun.results.select import select
    from dlrun.runs.cache import records

    outputs = Path(options.outputs)
    runs, _ = select(options.what, outputs)
    busy = [run for run in runs if run.state == "running"]
    if busy:
        names = ", ".join(run.name for run in busy)
        raise UserError(f"{names}: being trained right now; nothing was deleted")
    everything = records(outputs)[0] if outputs.is_dir() else runs
    going = {run.path for run in runs}
    for one in runs:
        users = [user for user in users_of(one, everything) if user.path not in going]
        if users:
            names = ", ".join(user.name for user in users[:3])
            print(f"dlrun: {one.name} is named by the config of {names}", file=sys.stderr)
    items = [Item(Path(run.path), f"{run.state} run", size_of(Path(run.path))) for run in runs]
    shown = [Item(Path(os.path.relpath(i.path)), i.kind, i.size) for i in items]
    return carry_out(shown, options.dry_run, options.yes, make_console())
