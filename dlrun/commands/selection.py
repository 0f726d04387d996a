"""What the commands on several runs share: which runs, and in what form."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlrun.runs.select import Selection

WHAT = """\
  RUN     the folder of a run, its name, the name=... that it was given, the
          beginning of its name, or `last`
  SWEEP   the name of a sweep, the beginning of one, or a folder with runs below
  FILTER  KEY=VALUE, such as method=byol, 'optimizer.lr<0.01', status=failed,
          seed=0,1; all filters must hold, without RUN and SWEEP for all runs"""


def add_selection(parser: argparse.ArgumentParser, at_least_one: bool = True) -> None:
    """RUN | SWEEP | FILTER and where their names are looked for."""
    parser.add_argument(
        "what", nargs="+" if at_least_one else "*", metavar="RUN | SWEEP | FILTER", help="see below"
    )
    parser.add_argument(
        "--outputs", default="outputs", help="where names are looked for (%(default)s)"
    )


def add_forms(parser: argparse.ArgumentParser, lines: str) -> None:
    """--json or --csv; `lines` says what each line of CSV is."""
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="for programs")
    forms.add_argument("--csv", action="store_true", help=f"for spreadsheets, {lines}")


def selected(options: argparse.Namespace) -> "Selection":
    """The runs that `options.what` means below `options.outputs`.

    Raises:
        UserError: a name that is not known, or no run that fits.
    """
    from dlrun.runs.select import select

    return select(options.what, Path(options.outputs))
