"""A table of thousands of rows: what rich takes a second for, in milliseconds."""

from collections.abc import Callable, Sequence

_LEAST = 8  # characters that are left of a cell


def columns(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    shorten: int,
    paint: Callable[[int, str], str],
) -> list[str]:
    """The table's lines, one space between its columns.

    Args:
        header: what stands above each column.
        rows: the cells.
        width: of the screen, in characters.
        shorten: the column whose cells are cut with an ellipsis where the table is too wide.
        paint: `paint(column, cell)` is what is printed of a cell that has its width.
    """
    widths = [max(map(len, cells)) for cells in zip(header, *rows, strict=True)]
    over = max(0, sum(widths) + len(widths) - 1 - width)
    widths[shorten] = max(min(widths[shorten], _LEAST), widths[shorten] - over)

    def line(cells: Sequence[str], paint: Callable[[int, str], str]) -> str:
        fitting = (
            paint(i, _fit(cell, size))
            for i, (cell, size) in enumerate(zip(cells, widths, strict=True))
        )
        return " ".join(fitting).rstrip()

    rule = "─" * (sum(widths) + len(widths) - 1)
    return [line(header, lambda _, cell: cell), rule, *(line(row, paint) for row in rows)]


def _fit(cell: str, width: int) -> str:
    return cell.ljust(width) if len(cell) <= width else f"{cell[: width - 1]}…"
