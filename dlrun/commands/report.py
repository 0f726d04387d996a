"""`dlrun report RUN|SWEEP`: one HTML file to look at, send, print."""

from argparse import RawDescriptionHelpFormatter
from pathlib import Path

from dlrun.commands.arguments import Parser

_EXAMPLES = """\
  dlrun report last --open
  dlrun report losses                          a sweep, by its name
  dlrun report 261126-1015 261126-1130 -o both.html
"""


def run(arguments: list[str]) -> int:
    """Writes the file and prints where it is and how large."""
    parser = Parser(
        prog="dlrun report",
        description="One self-contained HTML file about a run, several, or a sweep: figures, "
        "curves, pictures, config,\nprovenance. It needs no network and no server.",
        epilog=f"Examples:\n{_EXAMPLES.rstrip()}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN|SWEEP",
        help="a run's folder, its name, the beginning of its name, or 'last'; a sweep's name; "
        "or a folder with runs below it",
    )  # fmt: skip
    parser.add_argument(
        "--outputs", default="outputs", help="where names are looked for (%(default)s)"
    )
    parser.add_argument(
        "-o", "--out", help="the file (default: report.html in the folder of the run "
        "or sweep, or here for several)",
    )  # fmt: skip
    parser.add_argument("--open", action="store_true", help="show it in the browser")
    options = parser.parse_args(arguments)

    from dlrun.report.page import page
    from dlrun.report.read import read_run
    from dlrun.report.select import select

    selection = select(options.runs, Path(options.outputs))
    out = Path(options.out) if options.out else selection.out
    content = page([read_run(folder) for folder in selection.runs], selection.title)
    _write(out, content)
    count = len(selection.runs)
    runs = f", {count} runs" if count > 1 else ""
    print(f"{_short(out)}  {_size(len(content.encode()))}{runs}")
    if options.open:
        _show(out)
    return 0


def _write(out: Path, content: str) -> None:
    from dlrun.errors import UserError
    from dlrun.files import write_text

    if out.is_dir():
        raise UserError(f"--out: {out} is a folder; give a file, such as {out / 'report.html'}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_text(out, content)
    except OSError as error:
        raise UserError(f"--out: cannot write {out} ({error.strerror})") from error


def _show(out: Path) -> None:
    import webbrowser

    from dlrun.errors import UserError

    if not webbrowser.open(out.absolute().as_uri()):
        raise UserError(f"--open: no browser found; the report is {out}")


def _short(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
