"""How `dlrun compare` shows groups: side by side, or below each other where they are many."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from dlrun.evaluation.metrics import describe

if TYPE_CHECKING:
    from rich.table import Table

    from dlrun.results.comparison import Row
    from dlrun.results.seeds import Group
    from dlrun.results.statistics import Paired, Spread

_KEYS = 3  # more differing keys than these are too many columns


def who(group: "Group") -> str:
    """The runs of a group."""
    names = ", ".join(run.name for run in group.runs[:3])
    more = f" and {len(group.runs) - 3} more" if len(group.runs) > 3 else ""
    seeds = ", ".join(str(seed) for seed in group.seeds)
    return f"{names}{more} (seed{'s' if len(group.runs) > 1 else ''} {seeds})"


def what_differs(names: Sequence[str], changed: dict[str, list[str]]) -> "Table":
    """A row for each key."""
    table = plain_table("what differs")
    table.add_column("", overflow="fold")
    for name in names:
        table.add_column(name, overflow="fold")
    for key, values in changed.items():
        table.add_row(*_escaped(key, *values))
    return table


def side_by_side(
    names: Sequence[str], sizes: Sequence[int], rows: Sequence["Row"]
) -> list["Table"]:
    """A row for each figure, a column for each group; below them the paired tests.

    Each in a table of its own, so that no number is broken on a screen of 80 columns.
    """
    table = plain_table("figures")
    table.add_column("", overflow="fold")
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for row in rows:
        form = describe(row.figure.metric).form
        cells = [cell(told, form, size) for told, size in zip(row.groups, sizes, strict=True)]
        table.add_row(*_escaped(*_named(row), *cells))
    tests = [
        _tests(f"{names[i]} - A", [(row, test) for row in rows if (test := row.tests[i])])
        for i in range(1, len(names))
    ]
    return [table] * bool(rows) + [each for each in tests if each.rows]


def _tests(title: str, tested: Sequence[tuple["Row", "Paired"]]) -> "Table":
    """One group against the first: the difference, its 95% interval, p, over so many seeds."""
    table = plain_table(f"\n{title}")
    table.add_column("", overflow="fold")
    for heading in ("", "difference", "95% interval", "p", "n"):
        justify: Literal["left", "right"] = "right" if heading else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for row, test in tested:
        form = describe(row.figure.metric).form
        interval, p = "-", "-"
        if test.p is not None:
            interval = f"[{test.low:{form}}, {test.high:{form}}]"
            p = "<.001" if test.p < 0.001 else f"{test.p:.3f}"
        table.add_row(
            *_escaped(*_named(row), f"{test.difference:+{form}}", interval, p, str(test.n))
        )
    return table


def _named(row: "Row") -> tuple[str, str]:
    figure = row.figure
    name = f"{figure.metric} {describe(figure.metric).arrow}".strip()
    return name, f"{figure.split} {figure.which}"


def stacked(
    names: Sequence[str],
    groups: Sequence["Group"],
    changed: dict[str, list[str]],
    rows: Sequence["Row"],
) -> tuple["Table", list[str]]:
    """A row for each group, and a line about the keys for which there was no room."""
    shown = changed
    if len(changed) > _KEYS:
        shown = {key: values for key, values in changed.items() if "." not in key}
    shown = dict(list(shown.items())[:_KEYS])
    table = plain_table("")
    for column in ("", *shown, "n"):
        table.add_column(column, overflow="fold")
    for row in rows:
        figure, arrow = row.figure, describe(row.figure.metric).arrow
        heading = f"{figure.metric} {arrow}\n{figure.split} {figure.which}"
        table.add_column(heading, justify="right", overflow="fold")
    for i, group in enumerate(groups):
        values = [own[i] for own in shown.values()]
        cells = [cell(row.groups[i], describe(row.figure.metric).form) for row in rows]
        table.add_row(
            *_escaped(names[i], *values, str(len(group.runs) - len(group.incomplete)), *cells)
        )
    left = [key for key in changed if key not in shown]
    more = ", ..." if len(left) > 5 else ""
    line = f"differ too: {', '.join(left[:5])}{more}; --csv and --json have every value"
    return table, [line] if left else []


def cell(told: "Spread | None", form: str, size: int | None = None) -> str:
    """0.912 ± 0.004, with (n) where fewer than `size` runs have the figure."""
    if told is None:
        return "-"
    count = "" if size in (None, told.n) else f" ({told.n})"
    if told.std is None:
        return f"{told.mean:{form}}{count}"
    return f"{told.mean:{form}} ± {told.std:{form}}{count}"


def plain_table(title: str) -> "Table":
    """Without a frame, so that figures fit a narrow screen."""
    from rich import box
    from rich.table import Table

    return Table(
        title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        show_edge=False, pad_edge=False,
    )  # fmt: skip


def _escaped(*cells: Any) -> list[str]:
    from rich.markup import escape

    return [escape(str(text)) for text in cells]
