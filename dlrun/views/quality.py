"""How good generated images are, next to real ones: `dlrun evaluate --quality` and `dlrun show`."""

from typing import Any

from rich.table import Table

from dlrun.console import Console
from dlrun.evaluation.metrics import describe
from dlrun.views.tables import add_row, plain_table

_DIGITS = {"kid": 3, "fid": 2, "precision": 2, "recall": 2}
_HEADS = {"kid": "KID", "fid": "FID"}
_DIRECTIONS = {"a_to_b": "A to B", "b_to_a": "B to A"}


def print_quality(quality: dict[str, Any], console: Console) -> None:
    """A table for samples, or one for each direction of a translation, and what they mean."""
    for key, compared in quality["sets"].items():
        console.print(_table(key, compared))
    console.say(*_notes(quality))


def _notes(quality: dict[str, Any]) -> list[str]:
    """What the rows and the intervals mean, and what to be wary of."""
    lines, sets = [], quality["sets"]
    if sets:
        key = next(iter(sets))
        lines.append(f"features: {quality['features']}, of {quality['source']}")
        ceiling = "noise: uniform" if key == "samples" else "as it is: not translated"
        lines.append(
            f"real: as many train images, the best to hope for; {ceiling}; ± is a 95% interval"
        )
        recognized = [name for name in sets[key]["rows"]["real"] if name.startswith("taken[")]
        if recognized:
            lines.append(
                f"taken for the target by {recognized[0][6:-1]}, a classifier of the two domains "
                f"alone, of {quality['domains']}; real: its accuracy on the target's test images"
            )
    return lines + [f"warning: {line}" for line in quality["warnings"]]


def _table(key: str, compared: dict[str, Any]) -> Table:
    """A row for each set of images; real ones first, then the baseline, the best weights last."""
    what = "generated" if key == "samples" else f"translated {_DIRECTIONS[key]}"
    title = f"{compared['images']:,} images {what}, next to {compared['real']:,} test images"
    table, rows = plain_table(title), compared["rows"]
    table.add_column("", overflow="fold")
    names = list(rows["real"])
    for name in names:
        kind = name.partition("[")[0]
        table.add_column(f"{_HEADS.get(kind, kind)} {describe(kind).arrow}", justify="right")
    order = ["real", "ceiling", *(row for row in rows if row not in ("real", "ceiling"))]
    ceiling = "noise" if key == "samples" else "as it is"
    for row in sorted(order, key=lambda row: row.startswith(("last", "best"))):
        cells = [_cell(name, rows[row].get(name)) for name in names]
        add_row(table, ceiling if row == "ceiling" else row, *cells)
    return table


def _cell(name: str, estimate: dict[str, float | None] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "-"
    kind, value, error = name.partition("[")[0], estimate["value"], estimate["error"]
    if kind == "taken":
        return f"{value:.2f}"
    half = None if error is None else 1.96 * error
    digits = _DIGITS[kind]
    if max(abs(value), half or 0) >= 100:
        digits = max(0, digits - 2)
    return f"{value:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")
