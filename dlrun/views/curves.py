"""`dlrun plot`: curves in the terminal, or as a file: PNG, SVG, PDF, or an HTML page of its own."""

import io
from collections.abc import Sequence
from pathlib import Path

from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.files import output_file
from dlrun.runs.curves import Curve

ENDINGS = (".png", ".svg", ".pdf", ".html")
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row, then column
_BLANK = 0x2800
_COLOURS = (36, 33, 35, 32, 31, 34)  # ANSI
_DOTTED = 4  # one dot in so many
_PAGE = """\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{{ title }}</title>
<style>body { font-family: sans-serif; margin: 2em auto; max-width: 60em }
svg { width: 100%; height: auto } td, th { text-align: right; padding: 0 1em }</style>
{{ svg|safe }}
{% for curve in curves %}
<details><summary>{{ curve.label }}</summary>
<table><tr><th>{{ over }}</th><th>mean</th><th>standard deviation</th><th>runs</th></tr>
{% for x, value in zip(curve.x(over), curve.values) %}
<tr><td>{{ "%.6g"|format(x) }}</td><td>{{ "%.6g"|format(value.mean) }}</td>
<td>{{ "-" if value.std is none else "%.6g"|format(value.std) }}</td><td>{{ value.n }}</td></tr>
{% endfor %}
</table></details>
{% endfor %}
</html>
"""


def print_curves(
    curves: Sequence[Curve], title: str, over: str, height: int, console: Console
) -> None:
    """As wide as the terminal, at most 100 characters."""
    width = min(console.width, 100)
    for line in draw(curves, title, over, width, height, console.is_coloured):
        print(line)


def draw(
    curves: Sequence[Curve], title: str, over: str, width: int, height: int, coloured: bool
) -> list[str]:
    """The plot with its axes and a legend, at most `width` characters wide.

    Each character is two by four dots. A mean is a line with the curve's letter at its end, a band
    has dotted edges.
    """
    xs = [x for curve in curves for x in curve.x(over)]
    ys = [y for curve in curves for y in (*curve.band(-1), *curve.band(1))]
    left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
    if top == bottom:  # a flat line is drawn in the middle
        top, bottom = top + (abs(top) or 1.0) / 2, bottom - (abs(bottom) or 1.0) / 2
    marks = {0: f"{top:.4g}", height // 2: f"{(top + bottom) / 2:.4g}", height - 1: f"{bottom:.4g}"}
    margin = max(map(len, marks.values()))
    columns = max(10, width - margin - 2)
    cells: Cells = {}

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        down = (top - y) / (top - bottom)
        return across * (2 * columns - 1), down * (4 * height - 1)

    def paint(text: str, index: int) -> str:
        return f"\x1b[{_COLOURS[index % len(_COLOURS)]}m{text}\x1b[0m" if coloured else text

    for i, curve in enumerate(curves):
        edges = [curve.band(-1), curve.band(1)] if curve.n > 1 else []
        for values, every in [*((edge, _DOTTED) for edge in edges), (curve.mean, 1)]:
            draw_line(cells, list(map(place, curve.x(over), values)), every, i)
    for i, curve in enumerate(curves):
        x, y = map(round, place(curve.x(over)[-1], curve.mean[-1]))
        cells[y // 4, x // 2] = curve.label[0], i
    lines = [title]
    for row in range(height):
        drawn = (cells.get((row, column)) for column in range(columns))
        text = "".join(paint(*cell) if cell else chr(_BLANK) for cell in drawn)
        lines.append(f"{marks.get(row, ''):>{margin}} ┤{text}")
    ends = f"{left:.4g}", f"{right:.4g} {over}"
    gap = max(1, columns - sum(map(len, ends)))
    lines += [" " * margin + " └" + "─" * columns, " " * (margin + 2) + (" " * gap).join(ends)]
    for i, curve in enumerate(curves):
        lines.append(f"{paint('━━', i)} {curve.label}: last {curve.mean[-1]:.4g}")
    return lines


Cells = dict[tuple[int, int], tuple[str, int]]
"""Characters by row and column, each with the index of the curve that was there last."""


def draw_line(cells: Cells, points: Sequence[tuple[float, float]], every: int, index: int) -> None:
    """Dots from point to point, one in `every`; (0, 0) is the upper left one."""
    for (x0, y0), (x1, y1) in zip(points, points[1:] or points, strict=False):
        steps = max(1, round(max(abs(x1 - x0), abs(y1 - y0))))
        for i in range(0, steps + 1, every):
            x, y = round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps)
            before, _ = cells.get((y // 4, x // 2), (chr(_BLANK), 0))
            cells[y // 4, x // 2] = chr(ord(before) | _DOTS[y % 4][x % 2]), index


def write_figure(curves: Sequence[Curve], title: str, over: str, path: Path) -> None:
    """Means as lines, one standard deviation over seeds as bands; in HTML the numbers too.

    Args:
        path: ends in one of ENDINGS.

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
        (line,) = axes.plot(curve.x(over), curve.mean, label=curve.label)
        if curve.n > 1:
            edges = curve.band(-1), curve.band(1)
            axes.fill_between(curve.x(over), *edges, color=line.get_color(), alpha=0.2)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    kind = path.suffix.lower()[1:]
    with output_file(path) as temporary:
        if kind != "html":
            figure.savefig(temporary, format=kind, dpi=150)
            return
        from jinja2 import Environment

        drawn = io.StringIO()
        figure.savefig(drawn, format="svg")
        svg = drawn.getvalue().partition("<svg")
        template = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
        values = {"title": title, "over": over, "curves": curves, "zip": zip}
        temporary.write_text(template.render(values, svg="".join(svg[1:])), encoding="utf-8")
