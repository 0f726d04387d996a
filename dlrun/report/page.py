"""The whole page: everything that the template shows."""

import base64
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from dlrun import __version__
from dlrun.files import open_regular
from dlrun.report.charts import charts
from dlrun.report.pictures import galleries
from dlrun.report.tables import (
    STRIP,
    Table,
    every_run,
    families,
    group_bars,
    key_results,
    newest_values,
    results,
)
from dlrun.runs.groups import by_seed, differences, labelled
from dlrun.runs.run import STATES, Run
from dlrun.text import show

_LOG_LINES, _LOG_BYTES = 12, 2**16


def page(runs: Sequence[Run], title: str) -> str:
    """The HTML of one or more runs."""
    groups = [group for family in families(labelled(by_seed(runs))) for group in family]
    drawn = charts(groups)
    script = _part("script.js")
    content = _template().render(
        title=title,
        runs=runs,
        groups=groups,
        states=Counter(run.state for run in sorted(runs, key=lambda r: STATES.index(r.state))),
        methods=Counter(run.method for run in runs),
        datasets=Counter(run.dataset for run in runs),
        key_results=key_results(groups),
        newest=newest_values(runs[0]) if len(runs) == 1 else None,
        unfinished=[(run, _log_end(run)) for run in runs if not run.is_complete],
        warnings=_by_text(
            (str(line), run.name) for g in groups for run in g.runs
            for line in run.summary.get("warnings") or ()
        ),
        tables=results(groups),
        duplicates=[run.name for group in groups for run in group.duplicates],
        bars=group_bars(groups),
        outer_charts=[chart for chart in drawn if "/" not in chart["name"]],
        inner_charts=[chart for chart in drawn if "/" in chart["name"]],
        most_runs=max(len(group.runs) for group in groups),
        galleries=[g for g in galleries(groups) if g.films or g.damaged],
        differing={
            key: Counter(values)
            for key, values in differences([run.config for run in runs]).items()
        },
        config=_config(runs),
        every_run=every_run(groups),
        commands=_by_text(
            (line[20:], line[:19]) for run in runs for line in run.folder.typed_commands()
        ),
        provenance=_provenance(runs),
        changes=sorted({diff for run in runs if (diff := _git(run).get("diff"))})[:3],
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
        version=__version__,
        style=_part("style.css"),
        script=script,
        # For the page's own policy: no other script runs in it, whatever a text contains.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data={
            "groups": [{"label": group.label, "runs": len(group.runs)} for group in groups],
            "charts": drawn,
        },
    )  # fmt: skip
    return content.lstrip()


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    environment.globals["strip_size"] = STRIP
    environment.filters["thousands"] = "{:,}".format
    return environment.from_string(_part("page.html.j2"))


def _part(name: str) -> str:
    return (files("dlrun.report") / name).read_text(encoding="utf-8")


def _by_text(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Each text once, with everything that it came with."""
    found: dict[str, list[str]] = {}
    for text, source in pairs:
        found.setdefault(text, []).append(source)
    return found


def _log_end(run: Run) -> str:
    """The last lines of its log, where it failed."""
    if run.state != "failed":
        return ""
    try:
        with open_regular(run.folder.log) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-_LOG_LINES:])


def _config(runs: Sequence[Run]) -> Table:
    """The keys that all runs share."""
    first, *others = (run.config for run in runs)
    shared = [
        (key, show(value))
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    ]
    title = f"The {len(shared)} keys that all runs share" if others else "The whole config"
    return Table(title, ("key", "value"), shared, numbers_from=2, folded=title)


def _git(run: Run) -> dict[str, str]:
    return run.provenance.get("git") or {}


def _provenance(runs: Sequence[Run]) -> dict[str, Counter[str]]:
    """Versions, machine, code and data; where runs differ, each value with its count."""
    found: dict[str, Counter[str]] = {}
    for run in runs:
        facts = _facts(run) | (_facts_of_one(run) if len(runs) == 1 else {})
        for name, value in facts.items():
            found.setdefault(name, Counter())[value] += 1
    return found


def _facts(run: Run) -> dict[str, str]:
    """What is known."""
    p, git = run.provenance, _git(run)
    versions = {"dlrun": p.get("dlrun"), "python": p.get("python"), **(p.get("packages") or {})}
    commit = git.get("commit", "")
    facts = {
        "data set": run.dataset,
        "data checksum": (p.get("data") or {}).get("checksum", ""),
        "hardware": p.get("hardware", ""),
        "processor": p.get("processor", ""),
        "platform": p.get("platform", ""),
        "versions": ", ".join(f"{name} {which}" for name, which in versions.items() if which),
        "git commit": f"{commit}{' with uncommitted changes' if git.get('diff') else ''}",
        "own classes": ", ".join(p.get("own_code") or ()),
        "resumed with": "; ".join(", ".join(r) + " changed" for r in p.get("resumed") or ()),
    }
    return {name: value for name, value in facts.items() if value}


def _facts_of_one(run: Run) -> dict[str, Any]:
    """What differs from run to run anyway."""
    summary, facts = run.summary, {}
    memory, rate = summary.get("peak_memory_bytes"), summary.get("images_per_second")
    if run.status.started:
        facts["started"] = f"{datetime.fromtimestamp(run.status.started):%Y-%m-%d %H:%M}"
    if "seconds" in summary and "steps" in summary:
        speed = f", {rate:,.0f} images/s" if rate else ""
        facts["training"] = f"{summary['steps']:,} steps in {summary['seconds']:,.0f} s{speed}"
    if memory:
        facts["peak memory"] = f"{memory / 2**20:,.0f} MiB"
    return facts
