"""`dlrun compare`: groups side by side, or below each other; `dlrun leaderboard`: the methods."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from dlrun.console import Console
from dlrun.runs.comparison import Rank, Row
from dlrun.runs.groups import SeedGroup, differences, on_other_data
from dlrun.runs.run import Measure, Run
from dlrun.runs.statistics import Paired
from dlrun.text import letters
from dlrun.views.tables import add_row, cell, few, plain_table

_SIDE_BY_SIDE = 3  # more groups than these are below each other
_KEYS = 3  # more differing keys than these are too many columns


def print_comparison(
    groups: Sequence[SeedGroup],
    changed: dict[str, list[str]],
    rows: Sequence[Row],
    chosen: bool,
    console: Console,
) -> None:
    """What differs, the numbers, and what they mean.

    Args:
        groups: the first is the one that the others are compared with.
        changed: the config keys that differ, with each group's value.
        rows: the measures.
        chosen: whether the user chose the metrics; else those that fit are shown.
        console: to print to.
    """
    names, few_groups = letters(len(groups)), len(groups) <= _SIDE_BY_SIDE
    lines: list[str] = []
    if few_groups:
        for name, group in zip(names, groups, strict=True):
            seeds = ", ".join(str(seed) for seed in group.seeds)
            plural = "s" if len(group.runs) > 1 else ""
            runs = few([run.name for run in group.runs])
            console.say(f"{name}: {runs} (seed{plural} {seeds})")
        console.say("")
        if changed:
            table = plain_table("what differs", "", *names)
            for key, values in changed.items():
                add_row(table, key, *values)
            console.print(table)
            console.print()
        elif len(groups) > 1:
            console.say("no config key differs that changes what a run computes", "")
        for table in _side_by_side(names, groups, rows):
            console.print(table)
    else:
        table, lines = _stacked(names, groups, changed, _fitting(rows, groups, chosen))
        console.print(table)
    console.say("", *lines, *_left_out(names, groups), *_meaning(rows, few_groups))


def _side_by_side(
    names: Sequence[str], groups: Sequence[SeedGroup], rows: Sequence[Row]
) -> list[Table]:
    """A row for each measure, a column for each group; below them the paired tests.

    Each in a table of its own, so that no number is broken on a screen of 80 columns.
    """
    metrics = plain_table("metrics", "", "", numbers=names, broken=True)
    for row in rows:
        form = row.metric.form
        cells = (cell(v, form, len(g.runs)) for v, g in zip(row.groups, groups, strict=True))
        add_row(metrics, *_named(row), *cells)
    tables = [metrics]
    for i, name in enumerate(names[1:], 1):
        heads = ("difference", "95% interval", "p", "n")
        tables.append(plain_table(f"\n{name} - A", "", "", numbers=heads))
        for row in rows:
            if (test := row.tests[i]) is not None:
                add_row(tables[-1], *_named(row), *_tested(test, row.metric.form))
    return [table for table in tables if table.rows]


def _tested(test: Paired, form: str) -> tuple[str, str, str, int]:
    """The difference, its 95% interval, p, over so many seeds."""
    interval, p = "-", "-"
    if test.p is not None:
        interval = f"[{test.low:{form}}, {test.high:{form}}]"
        p = "<.001" if test.p < 0.001 else f"{test.p:.3f}"
    return f"{test.difference:+{form}}", interval, p, test.n


def _named(row: Row) -> tuple[str, str]:
    measure = row.measure
    return f"{measure.metric} {row.metric.arrow}".strip(), f"{measure.split} {measure.which}"


def _fitting(rows: Sequence[Row], groups: Sequence[SeedGroup], chosen: bool) -> list[Row]:
    """The measures that have room where groups are below each other."""
    keys = {group.key_metric for group in groups} - {None}
    shown = [row for row in rows if chosen or row.measure.metric in keys]
    best = [row for row in shown if row.measure.which == "best"]
    test = [row for row in best if row.measure.split == "test"]
    return test if len(keys) > 1 and not chosen else best


def _stacked(
    names: Sequence[str],
    groups: Sequence[SeedGroup],
    changed: dict[str, list[str]],
    rows: Sequence[Row],
) -> tuple[Table, list[str]]:
    """A row for each group, and a line about the keys for which there was no room."""
    shown = list(changed)
    if len(changed) > _KEYS:
        shown = [key for key in changed if "." not in key][:_KEYS]
    heads = ["\n".join(_named(row)) for row in rows]
    table = plain_table("", "", *shown, "n", numbers=heads, broken=True)
    for i, group in enumerate(groups):
        values = [changed[key][i] for key in shown]
        cells = [cell(row.groups[i], row.metric.form) for row in rows]
        add_row(table, names[i], *values, len(group.complete), *cells)
    left = [key for key in changed if key not in shown]
    more = ", ..." if len(left) > 5 else ""
    line = f"also different: {', '.join(left[:5])}{more}; --csv and --json have every value"
    return table, [line] if left else []


def _left_out(names: Sequence[str], groups: Sequence[SeedGroup]) -> list[str]:
    lines = []
    for name, group in zip(names, groups, strict=True):
        if group.incomplete:
            runs = [f"{run.name} {run.state} at step {run.status.step}" for run in group.incomplete]
            lines.append(f"{name}: not complete, not counted: {few(runs)}")
        if group.duplicates:
            runs = [run.name for run in group.duplicates]
            lines.append(f"{name}: duplicate seed, ignored: {few(runs)}")
    return lines


def _meaning(rows: Sequence[Row], tests_shown: bool) -> list[str]:
    lines = ["best: the checkpoint that val chose; last: the end of training"]
    if any(value and value.std is not None for row in rows for value in row.groups):
        lines.append("±: standard deviation over seeds")
    if not tests_shown:
        line = "--metric NAME shows another metric; --json has the paired tests against A"
        return [*lines, line]
    tests = [test for row in rows for test in row.tests if test]
    defined = sum(test.p is not None for test in tests)
    if defined < len(tests):
        lines.append("p is not defined (-): the difference is the same for all shared seeds")
    if defined:
        lines.append(
            "p: paired t-test over the shared seeds, with the 95% interval of the difference; by "
            f"chance alone one in 20 such tests is below 0.05, and there are {defined} here"
        )
    return lines


def as_json(
    groups: Sequence[SeedGroup], changed: dict[str, list[str]], rows: Sequence[Row]
) -> dict[str, Any]:
    """A comparison for --json."""
    names = letters(len(groups))
    return {
        "groups": {
            name: {
                "runs": [str(run.path) for run in group.runs],
                "seeds": group.seeds,
                "incomplete": [str(run.path) for run in group.incomplete],
                "duplicates": [str(run.path) for run in group.duplicates],
            }
            for name, group in zip(names, groups, strict=True)
        },
        "differences": {
            key: dict(zip(names, values, strict=True)) for key, values in changed.items()
        },
        "metrics": {
            str(row.measure): {
                name: {
                    **(asdict(value) if value else {"n": 0}),
                    "against_A": asdict(test) if test else None,
                }
                for name, value, test in zip(names, row.groups, row.tests, strict=True)
            }
            for row in rows
        },
    }


def as_csv(
    groups: Sequence[SeedGroup], changed: dict[str, list[str]], rows: Sequence[Row]
) -> list[dict[str, Any]]:
    """A comparison for --csv: a row for each group and measure."""
    lines = []
    for i, name in enumerate(letters(len(groups))):
        values = {key: own[i] for key, own in changed.items()}
        for row in rows:
            value, test = row.groups[i], row.tests[i]
            if value is not None:
                tested = {f"against_A_{k}": v for k, v in asdict(test).items()} if test else {}
                lines.append(
                    {"group": name, **values, **asdict(row.measure), **asdict(value), **tested}
                )
    return lines


def print_leaderboard(
    runs: Sequence[Run], ranks: Sequence[Rank], metric: str, console: Console
) -> None:
    """The table and what its columns mean."""
    kind, dataset = ranks[0].group.metric(metric), ranks[0].group.runs[0].dataset
    title = f"{dataset}: {metric} {kind.arrow}, test split"
    numbers = ("test", "n", "chosen by val", "configs")
    table = plain_table(title, "", "method", "model", numbers=numbers, broken=True)
    table.add_column("a run", overflow="fold")
    for i, rank in enumerate(ranks, 1):
        val = f"{rank.key_metric} {cell(rank.val, rank.group.metric(rank.key_metric).form)}"
        add_row(
            table, i, rank.method, rank.group.config.get("model.name", "?"),
            cell(rank.test, kind.form), rank.test.n, val, rank.configs, rank.group.runs[0].name,
        )  # fmt: skip
    console.print(table)
    lines = [
        "",
        "n: runs, one for each seed, ± their standard deviation; configs: how many val chose from",
    ]
    single = [rank.method for rank in ranks if rank.test.n < 2]
    if single:
        lines.append(f"a single run does not show the spread over seeds: {', '.join(single)}")
    changed = differences([rank.group.config for rank in ranks])
    data = [key for key in changed if key.partition(".")[0] == "dataset"]
    if data:
        lines.append(f"not the same images everywhere: {', '.join(data)} differ")
    elif others := on_other_data(runs):
        lines.append(
            f"not the same images everywhere: {few([run.name for run in others])} saw other ones"
        )
    left = sum(not run.is_complete for run in runs)
    if left:
        lines.append(f"{left} of {len(runs)} runs are not complete and are not counted")
    console.say(*lines)


def as_rows(ranks: Sequence[Rank], metric: str) -> list[dict[str, Any]]:
    """A leaderboard for --json and --csv."""
    return [
        {
            "method": rank.method,
            **asdict(Measure("test", "best", metric)),
            **asdict(rank.test),
            "chosen_by": f"val/{rank.key_metric}",
            "val_mean": rank.val.mean,
            "val_std": rank.val.std,
            "configs": rank.configs,
            "seeds": rank.group.seeds,
            "runs": [str(run.path) for run in rank.group.runs],
        }
        for rank in ranks
    ]
