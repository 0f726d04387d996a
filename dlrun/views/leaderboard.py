"""`dlrun leaderboard`: a row for each method."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dlrun.console import Console
from dlrun.runs.groups import differences
from dlrun.runs.leaderboard import Rank
from dlrun.runs.run import Measure, Run
from dlrun.views.tables import add_row, cell, plain_table


def print_leaderboard(
    runs: Sequence[Run], ranks: Sequence[Rank], metric: str, console: Console
) -> None:
    """The table and what its columns mean."""
    kind = ranks[0].group.metric(metric)
    table = plain_table(f"{ranks[0].group.runs[0].dataset}: {metric} {kind.arrow}, test split")
    for column in ("", "method", "model"):
        table.add_column(column, overflow="fold")
    for column in ("test", "n", "chosen by val", "configs"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("a run", overflow="fold")
    for i, rank in enumerate(ranks, 1):
        val = f"{rank.key_metric} {cell(rank.val, rank.group.metric(rank.key_metric).form)}"
        add_row(
            table, i, rank.method, rank.group.config.get("model.name", "?"),
            cell(rank.test, kind.form), rank.test.n, val, rank.configs, rank.group.runs[0].name,
        )  # fmt: skip
    console.print(table)
    console.say("", *_notes(runs, ranks))


def _notes(runs: Sequence[Run], ranks: Sequence[Rank]) -> list[str]:
    lines = [
        "n: runs, one for each seed, ± their standard deviation; configs: how many val chose from"
    ]
    single = [rank.method for rank in ranks if rank.test.n < 2]
    if single:
        lines.append(f"a single run does not show the spread over seeds: {', '.join(single)}")
    data = [
        key
        for key in differences([rank.group.config for rank in ranks])
        if key.split(".")[0] == "dataset"
    ]
    if data:
        lines.append(f"not the same images everywhere: {', '.join(data)} differ")
    left = sum(not run.is_complete for run in runs)
    if left:
        lines.append(f"{left} of {len(runs)} runs are not complete and are not counted")
    return lines


def as_rows(ranks: Sequence[Rank], metric: str) -> list[dict[str, Any]]:
    """For --json and --csv."""
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
