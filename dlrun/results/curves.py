"""A metric over steps or seconds, seeds taken together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dlrun.errors import UserError
from dlrun.files import read_jsonl
from dlrun.results.comparison import labels
from dlrun.results.seeds import Group, differences
from dlrun.results.statistics import spread

Over = Literal["steps", "seconds"]


@dataclass(frozen=True)
class Curve:
    """The mean over the seeds of a group, and a band of one standard deviation to either side."""

    label: str
    x: list[float]
    """Optimizer steps, or the seconds of training that the seeds took to them on average."""
    mean: list[float]
    low: list[float]
    high: list[float]
    n: int
    """Seeds; a point where not all of them have been is left out."""


def curves(groups: Sequence[Group], metric: str, over: Over) -> list[Curve]:
    """One curve for each group that has the metric.

    Args:
        groups: as `by_seed` gives them.
        metric: as in metrics.jsonl, such as val/accuracy.
        over: what x is.

    Raises:
        UserError: no run has logged it.
    """
    logged = [[read_jsonl(Path(run.path) / "metrics.jsonl") for run in g.runs] for g in groups]
    names = {name for group in logged for rows in group for row in rows for name in row}
    if metric not in names:
        raise UserError(_no_metric(metric, sorted(names - {"step", "time"})))
    found = [
        _curve(label, group, metric, over)
        for label, group in zip(_labels(groups), logged, strict=True)
    ]
    drawn = [curve for curve in found if curve.x]
    if not drawn:
        raise UserError(f"--metric {metric}: no step at which all seeds of a config have it")
    return drawn


def key_metric(groups: Sequence[Group]) -> str:
    """What a plot shows that is not told: val of the key metric that most runs have.

    Raises:
        UserError: there is none.
    """
    keys = [run.key_metric for group in groups for run in group.runs if run.key_metric]
    if not keys:
        raise UserError("none of these runs has finished; say what to plot: --metric train/loss")
    return f"val/{max(keys, key=keys.count)}"


def _no_metric(given: str, names: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(given, names, n=1) or [
        name for name in names if name.endswith(f"/{given}")
    ]
    if near:
        return f"--metric {given}: no run has it. Did you mean {near[0]}?"
    shown = [name for name in names if name.count("/") < 2]
    return f"--metric {given}: no run has it; there are {', '.join(shown) or 'no metrics yet'}"


def _labels(groups: Sequence[Group]) -> list[str]:
    """What tells the groups apart, as short as it can be said."""
    changed = differences([group.config for group in groups])
    whole = [key for key in changed if "." not in key] if len(changed) > 3 else list(changed)
    told = []
    for i, (letter, group) in enumerate(zip(labels(len(groups)), groups, strict=True)):
        values = " ".join(f"{key}={changed[key][i]}" for key in whole[:3])
        told.append(f"{letter} {values or group.runs[0].name} (n={len(group.runs)})")
    return told


def _curve(label: str, logged: Sequence[list[dict[str, Any]]], metric: str, over: Over) -> Curve:
    points = [
        {row["step"]: (row["time"], float(row[metric])) for row in rows if metric in row}
        for rows in logged
    ]
    points = [own for own in points if own]
    x, mean, low, high = [], [], [], []
    for step in sorted(set.intersection(*(set(own) for own in points)) if points else ()):
        values = [own[step][1] for own in points]
        if not all(map(math.isfinite, values)):
            continue
        told = spread(values)
        width = told.std or 0.0
        x.append(float(step) if over == "steps" else spread([own[step][0] for own in points]).mean)
        mean.append(told.mean)
        low.append(told.mean - width)
        high.append(told.mean + width)
    return Curve(label, x, mean, low, high, len(points))
