"""Curves as a file: PNG, SVG or PDF, or a page of its own."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

from dlrun.errors import UserError
from dlrun.files import write_text
from dlrun.results.curves import Curve

ENDINGS = (".png", ".svg", ".pdf", ".html")


def check_ending(path: Path) -> None:
    """Raises UserError where a file of that name cannot be written."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--out {path}: expected a name that ends in {', '.join(ENDINGS)}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")


def write_figure(curves: Sequence[Curve], title: str, over: str, path: Path) -> None:
    """Means as lines, one standard deviation over seeds as bands.

    Raises:
        UserError: matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("--out needs matplotlib: pip install 'dlrun[plot]'") from None
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=over, ylabel=title)
    for curve in curves:
        (line,) = axes.plot(curve.x, curve.mean, label=curve.label)
        if curve.n > 1:
            axes.fill_between(curve.x, curve.low, curve.high, color=line.get_color(), alpha=0.2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    try:
        if path.suffix.lower() == ".html":
            svg = io.StringIO()
            figure.savefig(svg, format="svg")
            write_text(path, _page(svg.getvalue(), curves, title, over))
        else:
            figure.savefig(path, dpi=150)
    except OSError as error:
        raise UserError(f"--out {path}: cannot be written ({error.strerror})") from error


def _page(svg: str, curves: Sequence[Curve], title: str, over: str) -> str:
    """One file with the picture and, below it, the numbers that it was drawn from."""
    drawing = svg[svg.index("<svg") :]
    tables = "\n".join(_numbers(curve, over) for curve in curves)
    name = html.escape(title)
    return f"""<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{name}</title>
<style>body {{ font-family: sans-serif; margin: 2em auto; max-width: 60em }}
svg {{ width: 100%; height: auto }} td, th {{ text-align: right; padding: 0 1em }}</style>
{drawing}
{tables}
</html>
"""


def _numbers(curve: Curve, over: str) -> str:
    rows = zip(curve.x, curve.mean, curve.low, curve.high, strict=True)
    cells = "".join(f"<tr>{''.join(f'<td>{value:.6g}</td>' for value in row)}</tr>" for row in rows)
    head = f"<tr><th>{over}</th><th>mean</th><th>mean - std</th><th>mean + std</th></tr>"
    name = html.escape(curve.label)
    return f"<details><summary>{name}</summary><table>{head}{cells}</table></details>"
