"""What the verbs that speak of several runs have in common: which runs, and in what form."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlrun.runs.record import Record


def add_forms(parser: argparse.ArgumentParser, lines: str) -> None:
    """--json or --csv; `lines` says of what each line of CSV is."""
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="for programs")
    forms.add_argument("--csv", action="store_true", help=f"for spreadsheets, {lines}")


def chosen_runs(options: argparse.Namespace) -> list["Record"]:
    """What `options.what` means below `options.outputs`; a word about the index on stderr.

    Raises:
        UserError: nothing of that name, or nothing left.
    """
    from dlrun.results.select import select

    runs, told = select(options.what, Path(options.outputs))
    for line in told:
        print(f"dlrun: {line}", file=sys.stderr)
    return runs
