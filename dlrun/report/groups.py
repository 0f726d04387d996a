"""Runs that differ only in their seed are one group; what sets it apart is its label."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dlrun.evaluation.metrics import describe
from dlrun.report.read import Run

# Neither a seed nor where a run lies makes it another experiment.
_ASIDE = ("seed", "name", "outputs", "data_dir")


@dataclass(frozen=True)
class Spread:
    """Of some runs' values; `deviation` is the sample's standard deviation, None of one."""

    mean: float
    low: float
    high: float
    deviation: float | None
    count: int


@dataclass(frozen=True)
class Group:
    """Runs with one config but for the seed."""

    label: str
    runs: tuple[Run, ...]

    @property
    def key_metric(self) -> str | None:
        """Of the first of its runs that has one."""
        return next((run.key_metric for run in self.runs if run.key_metric), None)

    @property
    def family(self) -> tuple[str, str]:
        """Data set and key metric: only within one are figures compared."""
        return self.runs[0].config.get("dataset.name", "?"), self.key_metric or "~"

    def test(self, column: str, name: str) -> Spread | None:
        """Over its runs that were judged on the test split."""
        return spread(r.test(column)[name] for r in self.runs if name in r.test(column))

    def best_val(self) -> Spread | None:
        """Of the key metric, which chose the best weights."""
        values = (run.summary.get("best", {}).get("val") for run in self.runs)
        return spread(value for value in values if value is not None)


def spread(values: Iterable[float]) -> Spread | None:
    """None of no values; NaN stays visible in all of its figures."""
    known = [float(value) for value in values]
    if not known:
        return None
    if any(math.isnan(value) for value in known):
        return Spread(math.nan, math.nan, math.nan, math.nan, len(known))
    if any(math.isinf(value) for value in known):
        return Spread(sum(known), min(known), max(known), None, len(known))
    mean = math.fsum(known) / len(known)
    squares = math.fsum((value - mean) ** 2 for value in known)
    deviation = math.sqrt(squares / (len(known) - 1)) if len(known) > 1 else None
    return Spread(mean, min(known), max(known), deviation, len(known))


def grouped(runs: Sequence[Run]) -> list[Group]:
    """The groups, the best first as their own val split says, those without a result last."""
    keys = [key for key in differing(runs) if key not in _ASIDE]
    members: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        members.setdefault(tuple(run.config.get(key, "") for key in keys), []).append(run)
    chosen = _telling(keys, list(members))
    groups = [
        Group(_label(keys, values, chosen) or found[0].name, tuple(found))
        for values, found in members.items()
    ]
    return sorted(groups, key=_rank)


def differing(runs: Sequence[Run]) -> list[str]:
    """Keys of the config whose values are not the same in all runs; names of options first."""
    keys = {key: None for run in runs for key in run.config}
    found = [key for key in keys if len({run.config.get(key) for run in runs}) > 1]
    return sorted(found, key=lambda key: not key.endswith(".name"))


def _telling(keys: list[str], members: list[tuple[str, ...]]) -> list[int]:
    """The fewest keys, from the first on, that tell all groups apart."""
    chosen: list[int] = []
    for index in range(len(keys)):
        before = len({tuple(values[i] for i in chosen) for values in members})
        if before == len(members):
            break
        if len({tuple(values[i] for i in (*chosen, index)) for values in members}) > before:
            chosen.append(index)
    return chosen


def _label(keys: list[str], values: tuple[str, ...], chosen: list[int]) -> str:
    return ", ".join(f"{keys[i].removesuffix('.name')}={values[i] or 'none'}" for i in chosen)


def families(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups that can be compared with each other, in the order given."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault(group.family, []).append(group)
    return list(found.values())


def _rank(group: Group) -> tuple[bool, tuple[str, str], bool, float]:
    """By family, in it by the key metric; a mean that is no number comes last."""
    key, value = group.key_metric, group.best_val()
    if key is None or value is None or math.isnan(value.mean):
        return key is None, group.family, True, 0.0
    better = -value.mean if describe(key).higher_is_better else value.mean
    return False, group.family, False, better
