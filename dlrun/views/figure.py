"""Curves as a file: PNG, SVG, PDF, or an HTML page of its own."""

import io
from collections.abc import Sequence
from pathlib import Path

from dlrun.errors import UserError
from dlrun.files import output_file
from dlrun.runs.curves import Curve

ENDINGS = (".png", ".svg", ".pdf", ".html")
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


def check_ending(path: Path) -> None:
    """Raises UserError where a file of that name cannot be written."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"--out {path}: expected a name that ends in {', '.join(ENDINGS)}")


def write_figure(curves: Sequence[Curve], title: str, over: str, path: Path) -> None:
    """Means as lines, one standard deviation over seeds as bands; in HTML the numbers too.

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
        if kind == "html":
            temporary.write_text(_page(figure, curves, title, over), encoding="utf-8")
        else:
            figure.savefig(temporary, format=kind, dpi=150)


def _page(figure: object, curves: Sequence[Curve], title: str, over: str) -> str:
    from jinja2 import Environment

    drawn = io.StringIO()
    figure.savefig(drawn, format="svg")  # type: ignore[attr-defined]
    svg = drawn.getvalue()
    template = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    return template.render(
        title=title, over=over, svg=svg[svg.index("<svg") :], curves=curves, zip=zip
    )
