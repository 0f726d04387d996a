"""`dlrun report`: one HTML file to look at, send, print."""

import argparse
from pathlib import Path

from dlrun.commands.arguments import Parser
from dlrun.commands.selection import WHAT, add_selection, selected

_HELP = f"""\
{WHAT}

examples:
  dlrun report last --open
  dlrun report losses                      a sweep, by its name
  dlrun report losses seed=0               of a sweep, those with seed 0
  dlrun report 261126-1015 261126-1130 -o both.html"""


def run(arguments: list[str]) -> int:
    """Writes the file and prints where it is and how large."""
    parser = Parser(
        prog="dlrun report",
        description="One self-contained HTML file about a run, several, or a sweep: numbers, "
        "curves, pictures, config,\nprovenance. It needs no network and no server.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_selection(parser)
    parser.add_argument(
        "-o", "--out", type=Path, metavar="FILE", help="the file (default: report.html in the "
        "folder of the run or sweep, or here for several)",
    )  # fmt: skip
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    options = parser.parse_intermixed_args(arguments)

    from dlrun.errors import UserError
    from dlrun.files import output_file
    from dlrun.report.page import page
    from dlrun.text import readable_size, short

    selection = selected(options)
    runs, one_place = selection.runs, len(selection.places) == 1
    if not any(run.config for run in runs):
        runs[0].folder.read_config()  # says what is wrong with a damaged one
    home = selection.places[0] if one_place and not selection.filters else Path()
    names = [selection.places[0].name if one_place else f"{len(runs)} runs", *selection.filters]
    out = options.out.expanduser() if options.out else home / "report.html"
    if out.is_dir():
        raise UserError(f"--out: {out} is a folder; give a file, such as {out / 'report.html'}")
    content = page(runs, ", ".join(names)).encode()
    with output_file(out) as temporary:
        temporary.write_bytes(content)
    count = f", {len(runs)} runs" if len(runs) > 1 else ""
    print(f"{short(out)}  {readable_size(len(content))}{count}")
    if options.open:
        _show(out)
    return 0


def _show(out: Path) -> None:
    import webbrowser

    from dlrun.errors import UserError

    if not webbrowser.open(out.absolute().as_uri()):
        raise UserError(f"--open: no browser found; the report is {out}")
