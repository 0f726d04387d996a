"""How each group of the images fares: bars, the worst first, with intervals."""

from collections.abc import Sequence

from dlrun.report.groups import Group, Spread
from dlrun.report.html import Safe, details, join, section, table, tag
from dlrun.report.results import figure

PREFIX = "group/"  # group/NAME/KIND, as the evaluation calls the numbers of a single group
_MEASURES = ("recall", "accuracy")  # the first that a run has is the bar
_WORDS = {"false_positive_rate": "false positives", "n": "images"}
_WHOLE = ("n", "negatives")  # counts


def group_bars(settings: Sequence[Group]) -> Safe:
    """A bar for each group of the test split's images and each setting, best weights."""
    every = [name for setting in settings for run in setting.runs for name in run.test("best")]
    parts = {name.removeprefix(PREFIX).rpartition("/") for name in every if name.startswith(PREFIX)}
    kinds = {kind for _, _, kind in parts}
    measure = next((measure for measure in _MEASURES if measure in kinds), None)
    if measure is None:
        return Safe("")
    names = sorted(
        {name for name, _, _ in parts}, key=lambda name: _height(settings[0], name, measure)
    )
    rows = (_rows(settings, name, measure) for name in names)
    several = any(len(setting.runs) > 1 for setting in settings)
    thin = "from the lowest to the highest seed" if several else "the 95% interval"
    note = f"Test split, best weights, the worst group first. The thin line is {thin}."
    return section(
        f"{measure.capitalize()} of each group",
        tag("p", note, class_="note"),
        tag("div", *rows, class_="bars"),
        details("All numbers of each group", _table(settings, names, kinds)),
        id_="groups",
    )


def _height(setting: Group, name: str, measure: str) -> tuple[float, str]:
    value = _number(setting, name, measure)
    return (value.mean if value else 2.0), name  # a group without images comes last


def _number(setting: Group, name: str, kind: str) -> Spread | None:
    return setting.test("best", f"{PREFIX}{name}/{kind}")


def _rows(settings: Sequence[Group], name: str, measure: str) -> Safe:
    """One group of images: its name, then a bar for each setting; of one setting, in one row."""
    images = _number(settings[0], name, "n")
    count = tag("span", f", {images.mean:,.0f} images" if images else "", class_="note")
    if len(settings) == 1:
        return _bar(0, settings[0], name, measure, join([tag("strong", name), count]))
    head = tag("div", tag("strong", name), count, class_="name")
    bars = (_bar(i, s, name, measure, s.label) for i, s in enumerate(settings))
    return join([head, *bars])


def _bar(index: int, setting: Group, name: str, measure: str, label: str) -> Safe:
    value = _number(setting, name, measure)
    if value is None:
        return tag("span", label, ": no images", class_="name")
    low, high = value.low, value.high
    if value.count == 1:  # one run: the interval that its evaluation gives
        bounds = _number(setting, name, "low"), _number(setting, name, "high")
        low, high = (bound.mean if bound else value.mean for bound in bounds)
    colour = f"var(--c{index})" if index < 8 else "var(--rest)"
    fill = tag("span", class_="fill", style=f"width:{value.mean:.2%};background:{colour}")
    line = tag("span", class_="whisker", style=f"left:{low:.2%};width:{high - low:.2%}")
    return join(
        [
            tag("span", label, class_="of"),
            tag("span", fill, line, class_="track", aria_hidden="true"),
            tag("span", figure(value, ".3f"), class_="figure"),
        ]
    )


def _table(settings: Sequence[Group], names: Sequence[str], kinds: set[str]) -> Safe:
    order = ("n", "negatives", *_MEASURES, "low", "high", "precision", "false_positive_rate")
    shown = [kind for kind in order if kind in kinds] + sorted(kinds - set(order))
    rows = [
        [
            f"{name}, {setting.label}" if len(settings) > 1 else name,
            *(
                figure(_number(setting, name, kind), ",.0f" if kind in _WHOLE else ".3f")
                for kind in shown
            ),
        ]
        for name in names
        for setting in settings
    ]
    head = ["group", *(_WORDS.get(kind, kind) for kind in shown)]
    return table("Test split, best weights", head, rows, sortable=True)
