"""`dlrun gc`: frees room without losing a result."""

import argparse
import os
import sys
from pathlib import Path

from dlrun.commands.arguments import Parser

_KINDS = ("failed", "empty", "checkpoints", "temporary")
_HELP = """\
kinds (all of them, unless some are named):
  failed       runs that failed
  empty        folders that an hour after they were made have no config, and
               runs without a single step
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
        description="Delete what no result stands on: failed and empty runs, old checkpoints.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(_KINDS))
    parser.add_argument("--outputs", default="outputs", help="where runs lie (%(default)s)")
    parser.add_argument(
        "--days", type=float, default=30, help="age of checkpoints that go (%(default)s)"
    )
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask: for scripts")
    parser.add_argument("--dry-run", "-n", action="store_true", help="list and delete nothing")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.commands.removing import carry_out
    from dlrun.errors import UserError
    from dlrun.results.removal import Item, garbage, users_of
    from dlrun.runs.cache import records

    outputs = Path(options.outputs)
    wrong = [kind for kind in options.kinds if kind not in _KINDS]
    if wrong:
        raise UserError(f"{wrong[0]}: no such kind; there are {', '.join(_KINDS)}")
    if options.days < 0:
        raise UserError(f"--days: got {options.days:g}, expected 0 or more")
    if not outputs.is_dir():
        raise UserError(f"{outputs}: no such folder; runs are made by `dlrun train`")
    runs, _ = records(outputs)
    by_path = {run.path: run for run in runs}
    items = []
    for item in garbage(outputs, runs, options.kinds or _KINDS, options.days):
        whole = by_path.get(os.path.abspath(item.path))
        users = users_of(whole, runs) if whole else []
        if users:
            print(
                f"dlrun: {item.path.name} is kept: the config of {users[0].name} names it",
                file=sys.stderr,
            )
            continue
        items.append(Item(Path(os.path.relpath(item.path)), item.kind, item.size))
    console = make_console()
    if not items:
        console.print(f"nothing to delete below {outputs}", highlight=False, markup=False)
        return 0
    return carry_out(items, options.dry_run, options.yes, console)
