"""Curves for the screen: bands over seeds, and no more points than a screen can show."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dlrun.evaluation.metrics import METRICS, describe
from dlrun.report.groups import Group, spread

POINTS = 60_000  # of all curves together: about 3 MB
_MOST, _FEWEST = 600, 60  # points of one curve


@dataclass
class Curve:
    """One number over training: of one run, or the mean over a group's runs and their spread."""

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    deviation: list[float] = field(default_factory=list)
    count: list[int] = field(default_factory=list)


def curve(runs_rows: Iterable[Sequence[dict[str, Any]]], name: str) -> Curve:
    """`name` over the steps at which any of the runs has it; values that are not finite are left
    out, and `count` tells how many there were.

    A step's seconds are the mean over the runs that have it.
    """
    at: dict[int, list[tuple[float, float]]] = {}
    for rows in runs_rows:
        for row in rows:
            value = row.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                at.setdefault(row["step"], []).append((row["time"], value))
    found = Curve()
    for step in sorted(at):
        values = spread(value for _, value in at[step])
        assert values is not None
        found.steps.append(step)
        found.seconds.append(math.fsum(time for time, _ in at[step]) / len(at[step]))
        found.mean.append(values.mean)
        found.low.append(values.low)
        found.high.append(values.high)
        found.deviation.append(values.deviation or 0.0)
        found.count.append(values.count)
    return found


def thin(low: Sequence[float], high: Sequence[float], most: int) -> list[int]:
    """At most about `most` indices of a curve: first, last, and each stretch's extremes.

    A spike of one step stays visible however long the run is, which every n-th point would lose.
    """
    length = len(low)
    if length <= most:
        return list(range(length))
    stretches = max(1, (most - 2) // 2)
    kept = {0, length - 1}
    for number in range(stretches):
        inside = range(number * length // stretches, (number + 1) * length // stretches)
        kept.add(min(inside, key=low.__getitem__))
        kept.add(max(inside, key=high.__getitem__))
    return sorted(kept)


def charts(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Everything that the script draws, the key metric first: for each metric, the curves of every
    group, train and val.
    """
    names = _names(groups)
    curves = sum(len(splits) for splits in names.values()) * len(groups)
    most = min(_MOST, max(_FEWEST, POINTS // max(1, curves)))
    found = []
    for metric, splits in names.items():
        series = []
        for index, group in enumerate(groups):
            for split in splits:
                whole = curve((run.rows for run in group.runs), f"{split}/{metric}")
                if whole.steps:
                    series.append({"group": index, "split": split, **_columns(whole, most)})
        if series:
            kind = describe(metric)
            # What is only told while training, such as the learning rate, is no aim.
            arrow = kind.arrow if metric in METRICS or "val" in splits else ""
            found.append(
                {"name": metric, "label": kind.label.strip(), "arrow": arrow, "series": series}
            )
    return found


def _names(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Metrics and the splits that they are known on: the key metrics, losses, the others."""
    found: dict[str, list[str]] = {}
    for name in {name: None for g in groups for r in g.runs for row in r.rows for name in row}:
        split, slash, metric = name.partition("/")
        if slash:
            found.setdefault(metric, []).append(split)
    keys = [group.key_metric for group in groups]

    def order(metric: str) -> tuple[bool, bool, bool, bool, str]:
        inner = "/" in metric  # one of many of a kind, such as each number of a code
        return metric not in keys, inner, "val" not in found[metric], metric != "loss", metric

    return {metric: sorted(found[metric], reverse=True) for metric in sorted(found, key=order)}


def _columns(whole: Curve, most: int) -> dict[str, Any]:
    """The kept points; the spread only where there is one."""
    kept = thin(whole.low, whole.high, most)
    columns: dict[str, Any] = {
        "steps": [whole.steps[i] for i in kept],
        "seconds": [_short(whole.seconds[i]) for i in kept],
        "mean": [_short(whole.mean[i]) for i in kept],
    }
    if any(count > 1 for count in whole.count):
        for name in ("low", "high", "deviation"):
            values: list[float] = getattr(whole, name)
            columns[name] = [_short(values[i]) for i in kept]
        columns["count"] = [whole.count[i] for i in kept]
    return columns


def _short(value: float) -> float:
    """To five digits, more than a screen can tell apart."""
    return float(f"{value:.5g}")
