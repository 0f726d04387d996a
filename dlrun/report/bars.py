"""The test split by groups of images: a bar for each group, the worst first, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.report.tables import Table, number
from dlrun.runs.groups import SeedGroup
from dlrun.runs.run import by_image_group
from dlrun.runs.statistics import Spread

_MEASURES = ("recall", "accuracy")  # the first that a run has is the bar
_WORDS = {"false_positive_rate": "false positives", "n": "images"}
_COUNTS = ("n", "negatives")
_ORDER = ("n", "negatives", *_MEASURES, "low", "high", "precision", "false_positive_rate")


@dataclass(frozen=True)
class Bar:
    """One group of images in one setting. Values are between 0 and 1."""

    label: str
    colour: int
    value: Spread
    low: float
    high: float


def group_bars(groups: Sequence[SeedGroup]) -> dict[str, Any]:
    """The bars by group of images, and the table of all numbers; empty without such groups."""
    numbers = [name for group in groups for run in group.complete for name in run.test("best")]
    found = by_image_group(dict.fromkeys(numbers, 0.0))
    kinds = list(dict.fromkeys(kind for own in found.values() for kind in own))
    measure = next((measure for measure in _MEASURES if measure in kinds), None)
    if measure is None:
        return {}

    def height(name: str) -> tuple[float, str]:
        value = _number(groups[0], name, measure)
        return (value.mean if value else 2.0), name  # a group without images comes last

    names = sorted(found, key=height)
    several = any(len(group.complete) > 1 for group in groups)
    return {
        "measure": measure,
        "line": "from the lowest to the highest seed" if several else "the 95% interval",
        "groups": [
            (name, _number(groups[0], name, "n"), [_bar(i, group, name, measure) for i, group in
             enumerate(groups)])
            for name in names
        ],
        "table": _table(groups, names, kinds),
    }  # fmt: skip


def _number(group: SeedGroup, name: str, kind: str) -> Spread | None:
    return group.test("best", f"group/{name}/{kind}")


def _bar(index: int, group: SeedGroup, name: str, measure: str) -> Bar | str:
    """The label alone where it has no images of the group."""
    value = _number(group, name, measure)
    if value is None:
        return group.label
    low, high = value.low, value.high
    if value.n == 1:  # one run: the interval that its evaluation gives
        bounds = _number(group, name, "low"), _number(group, name, "high")
        low, high = (bound.mean if bound else value.mean for bound in bounds)
    return Bar(group.label, index, value, low, high)


def _table(groups: Sequence[SeedGroup], names: Sequence[str], kinds: Sequence[str]) -> Table:
    shown = [kind for kind in _ORDER if kind in kinds] + sorted(set(kinds) - set(_ORDER))
    rows = [
        [
            f"{name}, {group.label}" if len(groups) > 1 else name,
            *(
                number(_number(group, name, kind), ",.0f" if kind in _COUNTS else ".3f")
                for kind in shown
            ),
        ]
        for name in names
        for group in groups
    ]
    head = ["group", *(_WORDS.get(kind, kind) for kind in shown)]
    title = "Test split, best weights"
    return Table(title, head, rows, sortable=True, folded="All numbers of each group")
