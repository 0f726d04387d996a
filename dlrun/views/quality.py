"""The figures of made images beside those of real ones, for the end of a run and `dlrun show`."""

from typing import Any

from rich import box
from rich.table import Table

from dlrun.evaluation.metrics import describe

_DIGITS = {"kid": 3, "fid": 2, "precision": 2, "recall": 2}
_HEADS = {"kid": "KID", "fid": "FID"}
_DIRECTIONS = {"a_to_b": "A to B", "b_to_a": "B to A"}


def made_images(quality: dict[str, Any]) -> list[Table]:
    """A table for what is made of nothing, or one for each direction of a translation."""
    return [_table(key, held) for key, held in quality["sets"].items()]


def made_notes(quality: dict[str, Any]) -> list[str]:
    """What the rows and the intervals mean, and what to be wary of."""
    lines = []
    sets = quality["sets"]
    if sets:
        first = next(iter(sets))
        lines.append(f"features: {quality['features']}, of {quality['source']}")
        ceiling = "noise: uniform" if first == "samples" else "as it is: not translated"
        lines.append(
            f"real: as many train images, the best to hope for; {ceiling}; +- is a 95 % interval"
        )
        if any(name.startswith("taken[") for name in sets[first]["rows"]["real"]):
            name = next(n for n in sets[first]["rows"]["real"] if n.startswith("taken["))
            lines.append(
                f"taken for the target by {name[6:-1]}, a classifier of the two domains alone, of "
                f"{quality['domains']}; of real: its own accuracy on the target's test images"
            )
    return lines + [f"warning: {line}" for line in quality["warnings"]]


def _table(key: str, held: dict[str, Any]) -> Table:
    made = "made" if key == "samples" else f"translated {_DIRECTIONS[key]}"
    table = Table(
        title=f"{held['images']:,} images {made}, beside {held['real']:,} test images",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("", overflow="fold")
    names = list(held["rows"]["real"])
    for name in names:
        kind = name.partition("[")[0]
        table.add_column(f"{_HEADS.get(kind, kind)} {describe(kind).arrow}", justify="right")
    ceiling = "noise" if key == "samples" else "as it is"
    rows = held["rows"]
    order = ["real", "ceiling", *(row for row in rows if row not in ("real", "ceiling"))]
    for row in sorted(order, key=lambda row: row.startswith(("last", "best"))):
        cells = [_cell(name, rows[row].get(name)) for name in names]
        table.add_row(ceiling if row == "ceiling" else row, *cells)
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
