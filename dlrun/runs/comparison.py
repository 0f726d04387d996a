"""Groups of seeds side by side, and each method's best, which the test split does not choose."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlrun.errors import UserError
from dlrun.options import Metric
from dlrun.runs.groups import SeedGroup, by_seed, metric_of
from dlrun.runs.run import Measure, Run, is_part
from dlrun.runs.statistics import Paired, Spread, paired
from dlrun.text import suggest


@dataclass(frozen=True)
class Row:
    """One measure of all groups; None for a group without it."""

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
    for asked in metrics:
        if asked not in names:
            hint = suggest(asked.rpartition("/")[2], names) if names else ": no run is complete"
            raise UserError(f"--metric {asked}: no such metric{hint}")
    keys = {run.key_metric for run in complete}
    wanted = [measure for measure in there if not metrics or measure.metric in metrics]
    wanted.sort(key=lambda measure: (measure.split == "val", measure.metric not in keys))
    rows = []
    for measure in wanted:
        first, *others = (_by_seed(group, measure) for group in groups)
        tests = [None, *(_test(first, other) for other in others)]
        metric = metric_of(complete, measure.metric)
        rows.append(Row(measure, metric, [group.measure(measure) for group in groups], tests))
    return rows


def _by_seed(group: SeedGroup, measure: Measure) -> dict[Any, float]:
    return {run.seed: run.measures[measure] for run in group.complete if measure in run.measures}


def _test(first: dict[Any, float], other: dict[Any, float]) -> Paired | None:
    shared = [seed for seed in first if seed in other]
    return paired([first[seed] for seed in shared], [other[seed] for seed in shared])


@dataclass(frozen=True)
class Rank:
    """One method's best config."""

    method: str
    key_metric: str
    val: Spread
    """Of the key metric's best values on val, which chose the config and each checkpoint."""
    test: Spread
    """Of the ranked metric on the test split, at these checkpoints."""
    group: SeedGroup
    configs: int
    """Configs of this method, among which this one was chosen."""


def leaderboard(runs: Sequence[Run], metric: str) -> list[Rank]:
    """Each method's best config by val, the best on the test split first.

    Means over seeds are what is compared. A method that was run with several key metrics has a rank
    for each, since their values on val cannot be compared.

    Args:
        runs: of one data set; only complete ones count.
        metric: as in summary.json.

    Raises:
        UserError: no run has a val metric that could choose a config.
    """
    best: dict[tuple[str, str], Rank] = {}
    for group in by_seed([run for run in runs if run.is_complete]):
        val, test, key = group.best_val(), group.test("best", metric), str(group.key_metric)
        if val is None or test is None:
            continue
        method = group.runs[0].method
        before = best.get((method, key))
        configs = before.configs + 1 if before else 1
        reached = None if before is None or math.isnan(before.val.mean) else before.val.mean
        if before is None or group.metric(key).better(val.mean, reached):
            best[method, key] = Rank(method, key, val, test, group, configs)
        else:
            best[method, key] = replace(before, configs=configs)

    if not best:
        raise UserError(
            "none of these runs has a key metric on val, by which a leaderboard chooses configs; "
            f"dlrun compare shows {metric}"
        )

    def order(rank: Rank) -> tuple[bool, float]:  # a mean that is not a number comes last
        mean = rank.test.mean
        return math.isnan(mean), -mean if rank.group.metric(metric).higher_is_better else mean

    return sorted(best.values(), key=order)


def metric_to_rank(runs: Sequence[Run], asked: str | None) -> str:
    """The metric that was asked for, or the one that most methods have.

    Raises:
        UserError: no complete run has it, or neither direction of it is better, or the runs are of
            several data sets, whose numbers cannot be compared.
    """
    datasets = sorted({run.dataset for run in runs if run.is_complete})
    if len(datasets) > 1:
        raise UserError(
            f"these runs are of {len(datasets)} data sets, whose numbers cannot be compared; "
            f"choose one with dataset={datasets[0]} ({', '.join(datasets)})"
        )
    there = ranking_metrics(runs)
    if not there:
        states = ", ".join(sorted({run.state for run in runs}))
        raise UserError(f"none of these runs has a number to rank by (they are: {states})")
    if asked is not None and asked not in there:
        hint = suggest(asked, there)
        raise UserError(f"--metric {asked}: these runs have no such metric to rank by{hint}")
    return asked or there[0]


def ranking_metrics(runs: Sequence[Run]) -> list[str]:
    """The test metrics that can rank complete runs, those that more methods share first.

    A metric without a better direction cannot.
    """
    methods: dict[str, set[str]] = {}
    for run in runs:
        if run.is_complete:
            for name in run.test("best"):
                if not is_part(name) and run.metric(name).higher_is_better is not None:
                    methods.setdefault(name, set()).add(run.method)
    keys = [run.key_metric for run in runs]
    return sorted(methods, key=lambda name: (-len(methods[name]), -keys.count(name)))
