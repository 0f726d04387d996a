"""The whole page from its parts."""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from string import Template
from typing import Any

from dlrun import __version__
from dlrun.report import facts, films
from dlrun.report.bars import group_bars
from dlrun.report.curves import charts
from dlrun.report.groups import Group, grouped
from dlrun.report.html import Safe, json_for_script, section, tag, text
from dlrun.report.pictures import galleries
from dlrun.report.read import Run
from dlrun.report.results import hero, results


def page(runs: Sequence[Run], title: str) -> str:
    """The HTML of one or more runs."""
    groups = grouped(runs)
    drawn = charts(groups)
    script, style = _part("script.js"), _part("style.css")
    parts = [
        facts.unfinished(runs), facts.warnings(groups), results(groups), group_bars(groups),
        _curves(groups, drawn),
        films.pictures(galleries(groups)), facts.differences(groups), facts.commands(groups),
        facts.provenance(runs),
    ]  # fmt: skip
    return Template(_part("template.html")).substitute(
        title=text(title),
        heading=text(_heading(runs)),
        below=text(_below(runs, groups, title)),
        chips=facts.chips(runs),
        hero=hero(groups),
        menu=_menu(parts),
        sections="".join(parts),
        made=text(f"made {datetime.now():%Y-%m-%d %H:%M} by dlrun {__version__}"),
        style=style,
        script=script,
        script_hash=_hash(script),
        data=json_for_script(_data(groups, drawn)),
    )


def _part(name: str) -> str:
    return (files("dlrun.report") / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """For the page's own policy: no other script runs in it, whatever a text contains."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _heading(runs: Sequence[Run]) -> str:
    def all_of(key: str) -> str:
        found = list(dict.fromkeys(run.config.get(key, "?") for run in runs))
        return ", ".join(found[:4]) + (f" and {len(found) - 4} more" if len(found) > 4 else "")

    return f"{all_of('method.name')} on {all_of('dataset.name')}"


def _below(runs: Sequence[Run], groups: Sequence[Group], title: str) -> str:
    if len(runs) == 1:
        return title
    settings = "one setting" if len(groups) == 1 else f"{len(groups)} settings"
    count = f"{len(runs)} runs"
    return f"{count}, {settings}" if title == count else f"{title}: {count}, {settings}"


def _menu(parts: Sequence[Safe]) -> Safe:
    """Links to the sections that are there."""
    names = {
        "unfinished": "Not complete", "warnings": "Warnings", "figures": "Figures",
        "groups": "Groups",
        "curves": "Curves", "pictures": "Pictures", "config": "Config", "command": "Command",
        "provenance": "Provenance",
    }  # fmt: skip
    links = (
        tag("a", name, href=f"#{anchor}")
        for anchor, name in names.items()
        if any(f'<section id="{anchor}"' in part for part in parts)
    )
    return tag("nav", *links, aria_label="Sections")


def _curves(groups: Sequence[Group], drawn: Sequence[dict[str, Any]]) -> Safe:
    """Frames for the script to draw in; what it draws is told in words too."""
    if not drawn:
        return Safe("")
    outer = [chart for chart in drawn if "/" not in chart["name"]]
    inner = [chart for chart in drawn if "/" in chart["name"]]
    seeds = max(len(group.runs) for group in groups)
    controls = [
        _choice("axis", "Over", {"steps": "steps", "seconds": "seconds"}),
        _choice("scale", "Scale", {"linear": "linear", "log": "log"}),
    ]
    if seeds > 1:
        bands = {"range": "min to max", "deviation": "standard deviation", "none": "none"}
        controls.insert(1, _choice("band", "Band", bands))
    more = tag(
        "details", tag("summary", f"{len(inner)} more curves"),
        tag("div", *(_chart(chart) for chart in inner), class_="charts"),
    ) if inner else None  # fmt: skip
    about = "Lines are means over the runs that differ only in their seed. " if seeds > 1 else ""
    note = (
        f"{about}Solid: val. Dashed: train. Point at a chart, or focus it and use the arrow keys, "
        "for its values. Names in the legend switch lines off."
    )
    return section(
        "Curves",
        tag("div", *controls, class_="controls"),
        tag("div", class_="legend", id="legend", role="group", aria_label="Lines shown"),
        tag("p", note, class_="note screen"),
        tag("noscript", tag("p", "The curves are drawn by a script, which is switched off here.")),
        tag("div", *(_chart(chart) for chart in outer), class_="charts"),
        more,
        id_="curves",
    )


def _choice(name: str, legend: str, options: dict[str, str]) -> Safe:
    inputs = (
        tag("label", tag("input", type="radio", name=name, value=value, checked=i == 0), label)
        for i, (value, label) in enumerate(options.items())
    )
    return tag("fieldset", tag("legend", legend), *inputs, class_="choice")


def _chart(chart: dict[str, Any]) -> Safe:
    heading = f"{chart['label']} {chart['arrow']}".strip()
    return tag("figure", tag("figcaption", heading), class_="chart", data_chart=chart["name"])


def _data(groups: Sequence[Group], drawn: Sequence[dict[str, Any]]) -> dict[str, Any]:
    labels = [{"label": group.label, "runs": len(group.runs)} for group in groups]
    return {"groups": labels, "charts": list(drawn)}
