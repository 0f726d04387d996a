"""What the tables have in common: their form, cells, lines of text, and rows for spreadsheets."""

import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from dlrun.runs.statistics import Spread
from dlrun.text import csv_writer, show


def plain_table(
    title: str, *columns: str, numbers: Sequence[str] = (), broken: bool = False
) -> Table:
    """Without a frame, so that numbers fit a narrow screen.

    Args:
        title: above it.
        columns: heads of columns of text.
        numbers: heads of columns of numbers.
        broken: whether a screen that is too narrow breaks numbers, and does not cut them.
    """
    table = Table(
        title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        show_edge=False, pad_edge=False,
    )  # fmt: skip
    for column in columns:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", overflow="fold", no_wrap=not broken)
    return table


def numbers_table(title: str, *columns: str) -> Table:
    """Names on the left, numbers on the right."""
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def add_row(table: Table, *cells: Any) -> None:
    """A row of text, in which brackets are no markup."""
    table.add_row(*(escape(str(cell)) for cell in cells))


def cell(value: Spread | float | None, form: str, size: int | None = None) -> str:
    """0.912 ± 0.004, with (n) where fewer than `size` runs have a value; `-` without any."""
    if value is None:
        return "-"
    count = f" ({value.n})" if isinstance(value, Spread) and size not in (None, value.n) else ""
    return f"{value:{form}}{count}"


def few(names: Sequence[str]) -> str:
    """The first three, and how many more."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Every key of every row is a column, in the order in which they come."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv_writer(sys.stdout)
    if columns:
        writer.writerow(columns)
    for row in rows:
        writer.writerow(map(_csv, map(row.get, columns)))


def _csv(value: Any) -> Any:
    """Numbers are left to the writer, which is faster."""
    if value is None or type(value) in (str, int, float):
        return value
    return show(value)
