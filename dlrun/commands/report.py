"""`dlrun report`: one self-contained HTML file."""

from pathlib import Path

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Writes the file and prints where it is and how large."""
    options = parse("report", arguments)

    from dlrun.errors import UserError
    from dlrun.files import output_file
    from dlrun.report.page import page
    from dlrun.runs.select import select
    from dlrun.text import readable_size, short

    selection = select(options.what, options.outputs)
    runs, one_place = selection.runs, len(selection.places) == 1
    if not any(run.config for run in runs):
        runs[0].folder.read_config()  # says what is wrong with a damaged one
    home = selection.places[0] if one_place and not selection.filters else Path()
    names = [selection.places[0].name if one_place else f"{len(runs)} runs", *selection.filters]
    out = options.out or home / "report.html"
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
