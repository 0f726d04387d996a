"""Which method is best on a data set, without the test split choosing anything."""

from collections.abc import Sequence
from dataclasses import dataclass

from dlrun.evaluation.metrics import better, describe
from dlrun.results.seeds import Group, by_seed
from dlrun.results.statistics import Spread, spread
from dlrun.runs.record import Record


@dataclass(frozen=True)
class Place:
    """One method's best config."""

    method: str
    key_metric: str
    val: Spread
    """Of the key metric's best val values, by which the config and each checkpoint were chosen."""
    test: Spread
    """Of the metric that is compared, on the test split, by these checkpoints."""
    group: Group
    configs: int
    """Of this method, among which this one was chosen."""


def leaderboard(runs: Sequence[Record], metric: str) -> list[Place]:
    """Each method's best config by val, best test figure first.

    Seeds are taken together before anything is chosen. A method that was run with several key
    metrics has a place for each, since their val values cannot be compared.

    Args:
        runs: of one data set; only complete ones count.
        metric: as in summary.json.
    """
    kinds: dict[tuple[str, str], list[Group]] = {}
    for group in by_seed([run for run in runs if _counts(run, metric)]):
        first = group.runs[0]
        kinds.setdefault((first.method, str(first.key_metric)), []).append(group)
    places = [_best(method, key, metric, groups) for (method, key), groups in kinds.items()]
    upwards = describe(metric).higher_is_better
    return sorted(places, key=lambda place: -place.test.mean if upwards else place.test.mean)


def _counts(run: Record, metric: str) -> bool:
    return run.state == "completed" and run.best_val is not None and metric in run.test("best")


def _best(method: str, key: str, metric: str, groups: Sequence[Group]) -> Place:
    chosen, value = groups[0], _val(groups[0])
    for group in groups[1:]:
        if better(key, _val(group).mean, value.mean):
            chosen, value = group, _val(group)
    test = spread([run.test("best")[metric] for run in chosen.runs])
    return Place(method, key, value, test, chosen, len(groups))


def _val(group: Group) -> Spread:
    return spread([run.best_val for run in group.runs if run.best_val is not None])


def metrics_of(runs: Sequence[Record]) -> dict[str, int]:
    """The test metrics that complete runs have, those that more methods share first.

    A metric of which neither way is better ranks nothing and is left out.
    """
    methods: dict[str, set[str]] = {}
    for run in runs:
        if run.state == "completed":
            for name in run.test("best"):
                if describe(name).higher_is_better is not None:
                    methods.setdefault(name, set()).add(run.method)
    keys = [run.key_metric for run in runs]
    order = sorted(methods, key=lambda name: (-len(methods[name]), -keys.count(name)))
    return {name: len(methods[name]) for name in order}
