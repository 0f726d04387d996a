"""Curves for the screen: no more points than it can show."""

from collections.abc import Sequence
from typing import Any

from dlrun.evaluation.metrics import METRICS
from dlrun.runs.curves import Curve, curve, metrics_logged
from dlrun.runs.groups import SeedGroup, metric_of

POINTS = 60_000  # of all curves together: about 3 MB
_MOST, _FEWEST = 600, 60  # points of one curve


def charts(groups: Sequence[SeedGroup]) -> list[dict[str, Any]]:
    """Everything that the script draws, the key metric first: for each metric the curves of every
    group, train and val.
    """
    splits = _splits(groups)
    count = sum(map(len, splits.values())) * len(groups)
    most = min(_MOST, max(_FEWEST, POINTS // max(1, count)))
    found = []
    for metric, names in splits.items():
        series = [
            {"group": i, "split": split, "n": whole.n, **_columns(whole, most)}
            for i, group in enumerate(groups)
            for split in names
            if (whole := curve(group, f"{split}/{metric}")).steps
        ]
        if series:
            kind = metric_of([run for group in groups for run in group.runs], metric)
            # What is only logged in training, such as the learning rate, is not to be minimised.
            arrow = kind.arrow if metric in METRICS or "val" in names else ""
            found.append(
                {"name": metric, "label": kind.label.strip(), "arrow": arrow, "series": series}
            )
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


def _splits(groups: Sequence[SeedGroup]) -> dict[str, list[str]]:
    """The metrics, each with its splits: the key metrics, the losses, the others."""
    found: dict[str, list[str]] = {}
    for name in metrics_logged(groups):
        split, _, metric = name.partition("/")
        found.setdefault(metric, []).append(split)
    keys = [group.key_metric for group in groups]

    def order(metric: str) -> tuple[bool, bool, bool, bool, str]:
        inner = "/" in metric  # one of many of a kind, such as each number of a code
        return metric not in keys, inner, "val" not in found[metric], metric != "loss", metric

    return {metric: sorted(found[metric], reverse=True) for metric in sorted(found, key=order)}


def _columns(whole: Curve, most: int) -> dict[str, Any]:
    """The kept points; the spread only where there is one."""
    values = whole.values
    kept = thin([value.low for value in values], [value.high for value in values], most)
    columns = {
        "steps": [whole.steps[i] for i in kept],
        "seconds": [_short(whole.seconds[i]) for i in kept],
        "mean": [_short(values[i].mean) for i in kept],
    }
    if whole.n > 1:
        columns["low"] = [_short(values[i].low) for i in kept]
        columns["high"] = [_short(values[i].high) for i in kept]
        columns["std"] = [_short(values[i].std or 0.0) for i in kept]
    return columns


def _short(value: float) -> float:
    """To five digits, more than a screen can show."""
    return float(f"{value:.5g}")
