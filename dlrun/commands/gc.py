"""`dlrun gc`: frees room without losing a result."""

import argparse
from pathlib import Path

from dlrun.commands.arguments import Parser

_HELP = """\
kinds (all of them, unless some are named):
  failed       runs that failed
  empty        folders that an hour after they were made have no config, runs
               without a single step, and links of sweeps to deleted runs
  checkpoints  last.pt of complete runs older than --days that have a best.pt,
               which everything reads; the run cannot be trained further then
  temporary    unfinished files of processes that were killed

examples:
  dlrun gc --dry-run                         what it would be, and how much
  dlrun gc failed empty
  dlrun gc checkpoints --days 0 --yes        for scripts

A run that is being trained is never touched; a failed one that the config of
another run names is kept, and a line says so (dlrun rm deletes it)."""


def run(arguments: list[str]) -> int:
    """Deletes; 1 where something could not be."""
    parser = Parser(
        prog="dlrun gc",
        description="Delete what no result depends on: failed and empty runs, old checkpoints.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="see below")
    parser.add_argument("--outputs", default="outputs", help="where runs are (%(default)s)")
    parser.add_argument(
        "--days", type=float, default=30, help="age from which checkpoints go (%(default)s)"
    )
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask: for scripts")
    parser.add_argument("--dry-run", "-n", action="store_true", help="list and delete nothing")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.errors import UserError
    from dlrun.runs.removal import KINDS, garbage
    from dlrun.runs.run import runs_below
    from dlrun.text import suggest
    from dlrun.views.deletion import delete
    from dlrun.views.tables import say

    outputs, console = Path(options.outputs), make_console()
    for kind in options.kinds:
        if kind not in KINDS:
            raise UserError(f"{kind}: no such kind{suggest(kind, KINDS)}")
    if options.days < 0:
        raise UserError(f"--days: got {options.days:g}, expected 0 or more")
    if not outputs.is_dir():
        raise UserError(f"{outputs}: no such folder; runs are made by `dlrun train`")
    items, notes = garbage(outputs, runs_below(outputs), options.kinds or KINDS, options.days)
    if items:
        return delete(items, notes, options.dry_run, options.yes, console)
    say(console, *notes, f"nothing to delete below {outputs}")
    return 0
