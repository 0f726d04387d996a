"""Groups of seeds side by side: where their configs differ and what they reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.errors import UserError
from dlrun.options import Metric
from dlrun.runs.groups import SeedGroup, metric_of
from dlrun.runs.run import Measure, Run
from dlrun.runs.statistics import Paired, Spread, paired
from dlrun.text import suggest


@dataclass(frozen=True)
class Row:
    """One measure of all groups; None for a group of which no run has it."""

    measure: Measure
    metric: Metric
    """How its numbers are worded, compared and printed."""
    groups: list[Spread | None]
    tests: list[Paired | None]
    """Each group against the first, over the seeds that both have; None for the first."""


def compare(groups: Sequence[SeedGroup], metrics: Sequence[str] = ()) -> list[Row]:
    """The measures side by side, the key metric's first.

    Args:
        groups: the others are compared with the first.
        metrics: names as in summary.json; all without any.

    Raises:
        UserError: a metric that no complete run has.
    """
    complete = [run for group in groups for run in group.complete]
    there = list(dict.fromkeys(measure for run in complete for measure in run.measures))
    names = list(dict.fromkeys(measure.metric for measure in there))
    for metric in metrics:
        if metric not in names:
            hint = suggest(metric.rpartition("/")[2], names) if names else ": no run is complete"
            raise UserError(f"--metric {metric}: no such metric{hint}")
    keys = {run.key_metric for run in complete}
    wanted = [measure for measure in there if not metrics or measure.metric in metrics]
    wanted.sort(key=lambda measure: (measure.split == "val", measure.metric not in keys))
    return [_row(measure, groups) for measure in wanted]


def _row(measure: Measure, groups: Sequence[SeedGroup]) -> Row:
    def value(run: Run) -> float | None:
        return run.measures.get(measure)

    first = _by_seed(groups[0], measure)
    tests = [None, *(_test(first, _by_seed(group, measure)) for group in groups[1:])]
    runs = [run for group in groups for run in group.complete]
    metric = metric_of(runs, measure.metric)
    return Row(measure, metric, [group.spread(value) for group in groups], tests)


def _by_seed(group: SeedGroup, measure: Measure) -> dict[Any, float]:
    return {run.seed: run.measures[measure] for run in group.complete if measure in run.measures}


def _test(first: dict[Any, float], other: dict[Any, float]) -> Paired | None:
    shared = [seed for seed in first if seed in other]
    return paired([first[seed] for seed in shared], [other[seed] for seed in shared])
