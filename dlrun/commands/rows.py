"""Rows for spreadsheets."""

import csv
import sys
from collections.abc import Sequence
from typing import Any

from dlrun.text import show


def print_csv(rows: Sequence[dict[str, Any]]) -> None:
    """Every key of every row is a column, in the order in which they come."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if columns:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else show(value)
