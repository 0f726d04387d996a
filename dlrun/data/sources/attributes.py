"""Further columns of an image folder, from a CSV file beside the images."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FILE_COLUMN = "file"
"""Names an image by its path below the folder."""


ValueNames = dict[str, tuple[str, ...]]
"""The names of the values of each column that has some, by their number."""


def read_attributes(
    path: Path, root: Path, images: Sequence[str]
) -> "tuple[dict[str, Tensor], ValueNames]":
    """The columns of `path`, a CSV file, in the order of `images`.

    Whole numbers of 0 and more, and text, are classes: int64 (N,), -1 where a cell is empty or an
    image has no line; texts are numbered in alphabetical order. Anything else is a number:
    float32 (N,), NaN where missing.

    Args:
        path: its first line names the columns, one of which is `file`.
        root: the folder that the images lie below.
        images: their paths.

    Returns:
        The columns, and the names of the values of those that have some.

    Raises:
        UserError: the file is missing or not such a table, or none of the images is in it.
    """
    rows, names = _rows(path)
    lines = {(row[FILE_COLUMN] or "").strip(): row for row in rows}
    prefix = str(root).rstrip("/") + "/"
    found = [lines.get(image.removeprefix(prefix)) for image in images]
    if not any(row is not None for row in found):
        raise UserError(
            f"dataset.attributes: {path} knows none of the images; expected paths below {root} in "
            f"its column {FILE_COLUMN}, such as {images[0].removeprefix(prefix)}"
        )
    columns, value_names = {}, {}
    for name in names:
        cells = [("" if row is None else row[name] or "").strip() for row in found]
        columns[name], known = _column(name, cells)
        if known:
            value_names[name] = known
    return columns, value_names


def _rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"dataset.attributes: {path} cannot be read ({error})") from error
    if FILE_COLUMN not in names or len(names) < 2 or any("." in name for name in names):
        raise UserError(
            f"dataset.attributes: {path} has the columns {', '.join(names) or '(none)'}; expected "
            f"{FILE_COLUMN} and at least one other, without a dot in its name"
        )
    if "label" in names:
        raise UserError(
            f"dataset.attributes: {path} has a column label, which is what the folders say; give "
            "it another name"
        )
    return rows, [name for name in names if name != FILE_COLUMN]


def _column(name: str, cells: list[str]) -> "tuple[Tensor, tuple[str, ...]]":
    """Its values, and their names, if they were text."""
    import torch

    given = [cell for cell in cells if cell]
    if all(cell.isdecimal() for cell in given):
        whole = [int(cell) if cell else -1 for cell in cells]
        if max(whole) > torch.iinfo(torch.int64).max:
            raise _too_large(name)
        return torch.tensor(whole), ()
    try:
        numbers = [float(cell) if cell else math.nan for cell in cells]
    except ValueError:
        names = {text: number for number, text in enumerate(sorted(set(given)))}
        return torch.tensor([names[cell] if cell else -1 for cell in cells]), tuple(names)
    column = torch.tensor(numbers, dtype=torch.float32)
    if column.isinf().any():
        raise _too_large(name)
    return column, ()


def _too_large(name: str) -> UserError:
    return UserError(f"dataset.attributes: column {name} has a number that is too large")
