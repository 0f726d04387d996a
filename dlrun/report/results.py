"""The figures: the key result on top, then every number of the test split."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dlrun.evaluation.metrics import describe
from dlrun.report.groups import Group, Spread, families, spread
from dlrun.report.html import Safe, details, join, section, table, tag
from dlrun.report.read import TESTED, Run

_STRIP = (150, 18)  # width and height of the small drawing in a row, in pixels


def figure(value: Spread | None, form: str) -> str:
    """`0.853`, or `0.853 ± 0.004` with the standard deviation over seeds."""
    if value is None:
        return "–"
    mean = format(value.mean, form)
    return mean if value.deviation is None else f"{mean} ± {value.deviation:{form}}"


def hero(groups: Sequence[Group]) -> Safe:
    """The key result in large, beside what it is to be compared with; one for each family."""
    judged = [
        family
        for family in families(groups)
        if family[0].key_metric and family[0].test("best", family[0].key_metric)
    ]
    if not judged:
        return _not_judged(groups)
    return join(_key_result(family, several=len(judged) > 1) for family in judged)


def _key_result(family: Sequence[Group], several: bool) -> Safe:
    group = family[0]
    dataset, key = group.family
    metric, value = describe(key), group.test("best", key)
    assert value is not None
    others = join(
        tag("div", tag("dt", name), tag("dd", figure(group.test(column, key), metric.form)))
        for column, name in (
            ("last", "last weights"), ("untrained", "untrained"), ("trivial", "trivial"),
        )
        if group.test(column, key) is not None
    )  # fmt: skip
    over = f", mean ± standard deviation over {value.count} runs" if value.count > 1 else ""
    of = f"Of {len(family)} settings the best on val: {group.label}. " if len(family) > 1 else ""
    of = f"{group.label}. " if several and not of else of
    where = f"test split of {dataset}" if several else "test split"
    note = f"{of}Chosen by val {key}{over}; the test split chose nothing.{_trivial(key)}"
    return tag(
        "div",
        tag("p", f"{metric.label.strip()} {metric.arrow}, {where}, best weights", class_="what"),
        tag("p", figure(value, metric.form), class_="large"),
        tag("dl", others, class_="beside"),
        tag("p", note, class_="note"),
        class_="hero",
    )


def _trivial(key: str) -> str:
    named = describe(key).trivial
    return f" Trivial: {named}." if named else ""


def _not_judged(groups: Sequence[Group]) -> Safe:
    """Runs that did not get to the test split: the newest values instead."""
    runs = [run for group in groups for run in group.runs]
    if any(run.summary for run in runs):
        return tag("p", "These runs have no key metric on the test split.", class_="note")
    newest = runs[0].last_values() if len(runs) == 1 else {}
    rows = [(name, f"{value:.4g}", f"{step:,}") for name, (step, value) in newest.items()]
    shown = table("Newest values", ("", "value", "at step"), rows) if rows else None
    word = "This run was" if len(runs) == 1 else "None of these runs was"
    return tag("div", tag("p", f"{word} not judged on the test split." if len(runs) == 1 else
                          f"{word} judged on the test split."), shown, class_="hero")  # fmt: skip


def results(groups: Sequence[Group]) -> Safe:
    """Every table of figures."""
    judged = [group for group in groups if any(run.summary for run in group.runs)]
    if not judged:
        return Safe("")
    if len(groups) == 1:
        return section("Figures", _one(judged[0]), _compared(judged), id_="figures")
    rankings = [_ranking(family) for family in families(groups) if family[0].key_metric]
    return section("Figures", *rankings, *_all(judged), _compared(judged), id_="figures")


def _one(group: Group) -> Safe:
    """Rows are metrics, columns what they are of."""
    names = _metrics([group])
    step = group.runs[0].summary.get("best", {}).get("step")
    best = f"best (step {step:,})" if step is not None and len(group.runs) == 1 else "best"

    def rows(wanted: Iterable[str]) -> list[list[object]]:
        return [
            [_label(name), *(figure(group.test(c, name), describe(name).form) for c in TESTED)]
            for name in wanted
        ]

    head = ("metric", "trivial", "untrained", "last", best)
    outer = [name for name in names if "/" not in name]
    inner = [n for n in names if "/" in n and not n.startswith("group/")]  # those have bars
    more = details("Of each part", table("Test split, parts", head, rows(inner))) if inner else None
    baselines = "; ".join(
        f"{describe(n).label.strip()} of {describe(n).trivial}"
        for n in outer if describe(n).trivial and n in group.runs[0].test("trivial")
    )  # fmt: skip
    note = tag("p", f"Trivial, without training: {baselines}.", class_="note")
    return join([table("Test split", head, rows(outer)), note if baselines else "", more or ""])


def _ranking(family: Sequence[Group]) -> Safe:
    """The groups of a family, the best first, with a dot for each run."""
    dataset, key = family[0].family
    metric = describe(key)
    every = [run.test("best").get(key, math.nan) for group in family for run in group.runs]
    rows = []
    for place, group in enumerate(family, 1):
        best = group.test("best", key)
        judged, count = best.count if best else 0, len(group.runs)
        rows.append(
            [
                f"{place}. {group.label}",
                count if judged == count else f"{judged} of {count}",
                figure(group.best_val(), metric.form),
                figure(best, metric.form),
                _strip(group.runs, key, every),
                figure(group.test("last", key), metric.form),
            ]
        )
    title = f"{metric.label.strip()} {metric.arrow} on {dataset}, the best on val first"
    head = (
        "setting",
        "runs",
        "best on val",
        "test, best weights",
        "each run",
        "test, last weights",
    )
    return table(title, head, rows, sortable=True)


def _strip(runs: Sequence[Run], key: str, every: list[float]) -> Safe:
    """A dot for each run on a scale that all rows share; the numbers stand beside it."""
    finite = [value for value in every if math.isfinite(value)]
    if not finite:
        return Safe("")
    width, height = _STRIP
    low, high = min(finite), max(finite)
    dots = [
        tag("circle", cx=f"{6 + (width - 12) * (v - low) / ((high - low) or 1):.1f}",
            cy=height / 2, r=4)
        for run in runs
        for v in [run.test("best").get(key, math.nan)]
        if math.isfinite(v)
    ]  # fmt: skip
    line = tag("line", x1=6, x2=width - 6, y1=height / 2, y2=height / 2)
    return tag("svg", line, *dots, class_="strip", width=width, height=height, aria_hidden="true",
               viewBox=f"0 0 {width} {height}")  # fmt: skip


def _all(groups: Sequence[Group]) -> list[Safe]:
    """Rows are groups, columns every metric; the baselines as rows of their own."""
    names = [name for name in _metrics(groups) if "/" not in name]
    found = []
    for column in ("best", "last"):
        rows: list[list[object]] = [
            [g.label, *(figure(g.test(column, n), describe(n).form) for n in names)] for g in groups
        ]
        for baseline in ("untrained", "trivial"):
            values = [
                spread(r.test(baseline)[n] for g in groups for r in g.runs if n in r.test(baseline))
                for n in names
            ]
            rows.append(
                [f"({baseline})", *(
                    figure(v, describe(n).form) for v, n in zip(values, names, strict=True)
                )]
            )  # fmt: skip
        title = f"Test split, {column} weights"
        head = ["setting", *(_label(name) for name in names)]
        found.append(
            details(f"Every metric, {column} weights", table(title, head, rows, sortable=True))
        )
    return found


def _compared(groups: Sequence[Group]) -> Safe | None:
    """A distillation's networks side by side."""
    rows: list[list[object]] = []
    for group in groups:
        found = [run.summary["networks"] for run in group.runs if run.summary.get("networks")]
        for network in {name: None for one in found for name in one}:
            of = [one[network] for one in found if network in one]
            before = [group.label] if len(groups) > 1 else []
            rows.append([*before, network, *_network(of)])
    if not rows:
        return None
    head = ["network", "last", "best", "parameters", "images/s"]
    head = ["setting", *head] if len(groups) > 1 else head
    start = 2 if len(groups) > 1 else 1
    return table("Distillation, test accuracy ↑", head, rows, numbers_from=start)


def _network(of: Sequence[dict[str, Any]]) -> list[str]:
    def over(key: str) -> Spread | None:
        return spread(one[key] for one in of if one.get(key) is not None)

    size, speed = over("parameters"), over("images_per_second")
    return [
        figure(over("last"), ".4f"),
        figure(over("best"), ".4f"),
        f"{size.mean:,.0f}" if size else "as student",
        f"{speed.mean:,.0f}" if speed else "as student",
    ]


def _metrics(groups: Sequence[Group]) -> list[str]:
    """Every metric of the test split, the key metrics first."""
    names = {n: None for g in groups for r in g.runs for n in r.test("last")}
    keys = {group.key_metric for group in groups}
    return sorted(names, key=lambda name: name not in keys)


def _label(name: str) -> str:
    metric = describe(name)
    return f"{metric.label} {metric.arrow}".strip()
