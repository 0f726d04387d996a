"""Which method is best on a data set, where the test split chooses nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from dlrun.errors import UserError
from dlrun.runs.groups import SeedGroup, by_seed
from dlrun.runs.run import Run, is_part
from dlrun.runs.statistics import Spread
from dlrun.text import suggest


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
    """
    kinds: dict[tuple[str, str], list[SeedGroup]] = {}
    for group in by_seed([run for run in runs if run.is_complete]):
        if group.best_val() and group.test("best", metric):
            kinds.setdefault((group.runs[0].method, str(group.key_metric)), []).append(group)
    ranks = [_best(method, key, metric, groups) for (method, key), groups in kinds.items()]
    return sorted(ranks, key=partial(_order, metric))


def _order(metric: str, rank: Rank) -> tuple[bool, float]:
    """A mean that is not a number comes last."""
    mean = rank.test.mean
    return math.isnan(mean), -mean if rank.group.metric(metric).higher_is_better else mean


def _best(method: str, key: str, metric: str, groups: Sequence[SeedGroup]) -> Rank:
    chosen, reached = groups[0], None
    for group in groups:
        val = group.best_val()
        if val is not None and group.metric(key).better(val.mean, reached):
            chosen, reached = group, val.mean
    val, test = chosen.best_val(), chosen.test("best", metric)
    assert val is not None and test is not None
    return Rank(method, key, val, test, chosen, len(groups))


def demand_one_dataset(runs: Sequence[Run]) -> None:
    """Raises UserError where the runs are of several data sets, whose numbers do not compare."""
    names = sorted({run.dataset for run in runs if run.is_complete})
    if len(names) > 1:
        raise UserError(
            f"these runs are of {len(names)} data sets, whose numbers cannot be compared; choose "
            f"one with dataset={names[0]} ({', '.join(names)})"
        )


def metric_to_rank(runs: Sequence[Run], asked: str | None) -> str:
    """The metric that was asked for, or the one that most methods have.

    Raises:
        UserError: no complete run has it, or neither way of it is better.
    """
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

    A metric of which neither way is better cannot.
    """
    methods: dict[str, set[str]] = {}
    for run in runs:
        if run.is_complete:
            for name in run.test("best"):
                if not is_part(name) and run.metric(name).higher_is_better is not None:
                    methods.setdefault(name, set()).add(run.method)
    keys = [run.key_metric for run in runs]
    return sorted(methods, key=lambda name: (-len(methods[name]), -keys.count(name)))
