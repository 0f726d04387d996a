"""The numbers of the report: the key result, every number of the test split, groups of images."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.options import Metric
from dlrun.runs.groups import SeedGroup, metric_of
from dlrun.runs.run import TESTED, Run, by_image_group, is_part
from dlrun.runs.statistics import Spread, spread

STRIP = (150, 18)  # width and height of the dots in a row, in pixels
_MANY = 12  # runs whose table is folded
_MEASURES = ("recall", "accuracy")  # the first that a run has is the bar
_WORDS = {"false_positive_rate": "false positives", "n": "images"}
_COUNTS = ("n", "negatives")
_KIND_ORDER = ("n", "negatives", *_MEASURES, "low", "high", "precision", "false_positive_rate")


@dataclass(frozen=True)
class Table:
    """Rows of text; a cell may also be a list of x, the dots of a strip."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    sortable: bool = False
    numbers_from: int = 1
    """The first column that is flush right."""
    folded: str = ""
    """What to click to see it."""
    is_open: bool = False
    note: str = ""


def number(value: Spread | None, form: str) -> str:
    """`0.853`, or `0.853 ± 0.004` with the standard deviation over seeds."""
    return "–" if value is None else format(value, form)


def families(groups: Sequence[SeedGroup]) -> list[list[SeedGroup]]:
    """Those that can be compared: of one data set and one key metric. The best on val first; a mean
    that is not a number, and groups without a result, last.
    """
    found: dict[tuple[bool, str, str], list[SeedGroup]] = {}
    for group in groups:
        key = group.key_metric
        found.setdefault((key is None, group.runs[0].dataset, key or ""), []).append(group)
    return [sorted(found[family], key=_order) for family in sorted(found)]


def _order(group: SeedGroup) -> tuple[bool, float]:
    key, val = group.key_metric, group.best_val()
    if key is None or val is None or math.isnan(val.mean):
        return True, 0.0
    return False, -val.mean if group.metric(key).higher_is_better else val.mean


def key_results(groups: Sequence[SeedGroup]) -> list[dict[str, Any]]:
    """The key result of each family, next to what it is to be compared with."""
    tested = [family for family in families(groups) if _key_value(family[0])]
    return [_key_result(family, several=len(tested) > 1) for family in tested]


def _key_value(group: SeedGroup) -> Spread | None:
    return group.test("best", group.key_metric) if group.key_metric else None


def _key_result(family: Sequence[SeedGroup], several: bool) -> dict[str, Any]:
    group, key, value = family[0], str(family[0].key_metric), _key_value(family[0])
    assert value is not None
    metric = group.metric(key)
    names = {"last": "last weights", "untrained": "untrained", "trivial": "trivial"}
    others = ((name, group.test(which, key)) for which, name in names.items())
    of = f"{group.label}. " if several else ""
    if len(family) > 1:
        of = f"The best of {len(family)} settings on val: {group.label}. "
    over = f", mean ± standard deviation over {value.n} runs" if value.n > 1 else ""
    trivial = f" Trivial: {metric.trivial}." if metric.trivial else ""
    return {
        "what": f"{metric.label.strip()} {metric.arrow}",
        "where": f"test split of {group.runs[0].dataset}" if several else "test split",
        "value": number(value, metric.form),
        "others": [(name, number(other, metric.form)) for name, other in others if other],
        "note": f"{of}Chosen by val {key}{over}; test was not used for selection.{trivial}",
    }


def newest_values(run: Run) -> Table:
    """Of a run that was not tested."""
    rows = []
    for name, points in run.history.items():
        step = max(points)
        rows.append((name, f"{points[step][1]:.4g}", f"{step:,}"))
    return Table("Newest values", ("", "value", "at step"), rows)


def results(groups: Sequence[SeedGroup]) -> list[Table]:
    """Every table of numbers."""
    tested = [group for group in groups if any(run.summary for run in group.complete)]
    if not tested:
        return []
    if len(groups) == 1:
        found = _one(tested[0])
    else:
        ranked = [family for family in families(groups) if family[0].key_metric]
        found = [*map(_ranking, ranked), _all(tested, "best"), _all(tested, "last")]
    return [*found, *_distillations(tested)]


def _one(group: SeedGroup) -> list[Table]:
    """Rows are metrics, columns what they are of."""
    names, only = _metrics([group]), len(group.complete) == 1
    step = group.complete[0].best.get("step") if only else None
    head = ["metric", *TESTED[:-1], "best" if step is None else f"best (step {step:,})"]

    def rows(wanted: Iterable[str]) -> list[list[str]]:
        return [
            [_label(group.metric(name)), *(_cell(group, w, name) for w in TESTED)]
            for name in wanted
        ]

    outer = [name for name in names if not is_part(name)]
    inner = [name for name in names if is_part(name) and not name.startswith("group/")]
    trivial = [
        f"{metric.label.strip()} of {metric.trivial}"
        for name in outer
        if (metric := group.metric(name)).trivial and group.test("trivial", name)
    ]
    note = f"Trivial, without training: {'; '.join(trivial)}." if trivial else ""
    found = [Table("Test split", head, rows(outer), note=note)]
    if inner:
        found.append(Table("Test split, parts", head, rows(inner), folded="Of each part"))
    return found


def _ranking(family: Sequence[SeedGroup]) -> Table:
    """The groups of a family, the best first, with a dot for each run."""
    key = str(family[0].key_metric)
    metric = family[0].metric(key)
    every = [value for group in family for value in _tested(group, key)]
    rows = []
    for rank, group in enumerate(family, 1):
        best, count = group.test("best", key), len(group.runs)
        n = best.n if best else 0
        rows.append(
            [
                f"{rank}. {group.label}",
                str(count) if n == count else f"{n} of {count}",
                number(group.best_val(), metric.form),
                number(best, metric.form),
                _dots(_tested(group, key), every),
                number(group.test("last", key), metric.form),
            ]
        )
    title = f"{_label(metric)} on {family[0].runs[0].dataset}, the best on val first"
    head = "setting", "runs", "best on val", "test, best weights", "each run", "test, last weights"
    return Table(title, head, rows, sortable=True)


def _tested(group: SeedGroup, key: str) -> list[float]:
    """Finite numbers of the best weights."""
    values = [run.test("best").get(key, math.nan) for run in group.complete]
    return [value for value in values if math.isfinite(value)]


def _dots(values: Sequence[float], every: Sequence[float]) -> list[float]:
    """x of each value on a scale that all rows share; the numbers are next to it."""
    if not every:
        return []
    low, width = min(every), (max(every) - min(every)) or 1
    return [6 + (STRIP[0] - 12) * (value - low) / width for value in values]


def _all(groups: Sequence[SeedGroup], which: str) -> Table:
    """Rows are groups, columns every metric; the baselines have rows of their own."""
    names = [name for name in _metrics(groups) if not is_part(name)]
    metrics = [metric_of([run for g in groups for run in g.complete], name) for name in names]
    rows = [[group.label, *(_cell(group, which, name) for name in names)] for group in groups]
    for baseline in ("untrained", "trivial"):
        tested = [(run.seed, run.test(baseline)) for g in groups for run in g.complete]
        # The same network before its training is one sample, however many settings train it.
        found = [
            [value for _, value in {(seed, own[n]) for seed, own in tested if n in own}]
            for n in names
        ]
        cells = (
            number(spread(own) if own else None, metric.form)
            for metric, own in zip(metrics, found, strict=True)
        )
        rows.append([f"({baseline})", *cells])
    head = ["setting", *map(_label, metrics)]
    title = f"Test split, {which} weights"
    return Table(title, head, rows, sortable=True, folded=f"Every metric, {which} weights")


def _distillations(groups: Sequence[SeedGroup]) -> list[Table]:
    """Teacher, student and student alone, next to each other."""
    rows = []
    for group in groups:
        runs = [run.summary.get("networks") or {} for run in group.complete]
        for network in dict.fromkeys(name for run in runs for name in run):
            own = [run[network] for run in runs if network in run]
            cells = [
                _over(own, key, form, without)
                for key, form, without in (
                    ("last", ".4f", "–"), ("best", ".4f", "–"),
                    ("parameters", ",.0f", "as student"),
                    ("images_per_second", ",.0f", "as student"),
                )
            ]  # fmt: skip
            rows.append([group.label, network, *cells])
    head = ["setting", "network", "last", "best", "parameters", "images/s"]
    start = 1 if len(groups) == 1 else 0  # the only group is not named
    table = Table(
        "Distillation, test accuracy ↑", head[start:], [row[start:] for row in rows],
        numbers_from=2 - start,
    )  # fmt: skip
    return [table] if rows else []


def _over(own: Sequence[dict[str, Any]], key: str, form: str, without: str) -> str:
    values = [one[key] for one in own if one.get(key)]
    if not values:
        return without
    found = spread(values)
    return format(found, form) if form == ".4f" else format(found.mean, form)


def every_run(groups: Sequence[SeedGroup]) -> Table:
    """A row for each run, the duplicates of a seed too."""
    rows = []
    for group in groups:
        for run in (*group.runs, *group.duplicates):
            seconds, val = run.summary.get("seconds"), run.best_val
            state = run.state if run in group.runs else f"{run.state}, duplicate seed"
            rows.append(
                [
                    run.name, group.label, "" if run.seed is None else str(run.seed), state,
                    "–" if run.state == "unknown" else f"{run.status.step:,}",
                    "–" if seconds is None else f"{seconds:,.0f}",
                    "–" if val is None else f"{val:.4g}",
                ]
            )  # fmt: skip
    head = ("run", "setting", "seed", "status", "steps", "seconds", "best on val")
    return Table(
        "Every run", head, rows, sortable=True, numbers_from=4,
        folded=f"The {len(rows)} runs one by one", is_open=len(rows) <= _MANY,
    )  # fmt: skip


def _metrics(groups: Sequence[SeedGroup]) -> list[str]:
    """Every metric of the test split, the key metrics first."""
    names = dict.fromkeys(n for g in groups for run in g.complete for n in run.test("last"))
    keys = {group.key_metric for group in groups}
    return sorted(names, key=lambda name: name not in keys)


def _cell(group: SeedGroup, which: str, name: str) -> str:
    return number(group.test(which, name), group.metric(name).form)


def _label(metric: Metric) -> str:
    return f"{metric.label} {metric.arrow}".strip()


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
        value = _of_images(groups[0], name, measure)
        return (value.mean if value else 2.0), name  # a group without images comes last

    names = sorted(found, key=height)
    several = any(len(group.complete) > 1 for group in groups)
    return {
        "measure": measure,
        "line": "from the lowest to the highest seed" if several else "the 95% interval",
        "groups": [
            (name, _of_images(groups[0], name, "n"), [_bar(i, group, name, measure) for i, group in
             enumerate(groups)])
            for name in names
        ],
        "table": _table_of_bars(groups, names, kinds),
    }  # fmt: skip


def _of_images(group: SeedGroup, name: str, kind: str) -> Spread | None:
    return group.test("best", f"group/{name}/{kind}")


def _bar(index: int, group: SeedGroup, name: str, measure: str) -> Bar | str:
    """The label alone where it has no images of the group."""
    value = _of_images(group, name, measure)
    if value is None:
        return group.label
    low, high = value.low, value.high
    if value.n == 1:  # one run: the interval that its evaluation gives
        bounds = _of_images(group, name, "low"), _of_images(group, name, "high")
        low, high = (bound.mean if bound else value.mean for bound in bounds)
    return Bar(group.label, index, value, low, high)


def _table_of_bars(
    groups: Sequence[SeedGroup], names: Sequence[str], kinds: Sequence[str]
) -> Table:
    shown = [kind for kind in _KIND_ORDER if kind in kinds] + sorted(set(kinds) - set(_KIND_ORDER))
    rows = [
        [
            f"{name}, {group.label}" if len(groups) > 1 else name,
            *(
                number(_of_images(group, name, kind), ",.0f" if kind in _COUNTS else ".3f")
                for kind in shown
            ),
        ]
        for name in names
        for group in groups
    ]
    head = ["group", *(_WORDS.get(kind, kind) for kind in shown)]
    title = "Test split, best weights"
    return Table(title, head, rows, sortable=True, folded="All numbers of each group")
