"""How the runs stand, what sets them apart, what made them: everything that is no figure."""

from collections.abc import Sequence
from datetime import datetime

from dlrun.report.groups import Group, differing
from dlrun.report.html import Safe, details, join, pairs, section, table, tag
from dlrun.report.read import Run

_STATES = ("completed", "running", "pruned", "interrupted", "failed", "unknown")
_MANY = 12  # runs whose table is folded away
_LOG_LINES = 12


def chips(runs: Sequence[Run]) -> Safe:
    """How many runs are in which state."""
    counts = {state: sum(run.state == state for run in runs) for state in _STATES}
    return join(
        tag("span", state if len(runs) == 1 else f"{count} {state}", class_=f"chip {state}")
        for state, count in counts.items()
        if count
    )


def unfinished(runs: Sequence[Run]) -> Safe:
    """Every run that is not complete, why, and what to type."""
    entries = []
    for run in runs:
        if run.state == "completed":
            continue
        status = run.status
        reason = status.reason if status and status.reason else "no reason was written down"
        if run.state == "running":
            reason = "still at work; this report shows what there is so far"
        at = f"step {status.step:,} of {status.total:,}" if status else "no readable status.json"
        resume = (
            tag("p", "Go on with ", tag("code", f"dlrun resume {run.path}"))
            if run.state in ("pruned", "interrupted", "failed")
            else None
        )
        entries.append(
            tag(
                "li", tag("span", run.state, class_=f"chip {run.state}"), " ",
                tag("strong", run.name), f", {at}: {reason}", resume, _log(run),
            )
        )  # fmt: skip
    return section("Not complete", tag("ul", *entries, class_="plain") if entries else None,
                   id_="unfinished")  # fmt: skip


def _log(run: Run) -> Safe | None:
    """The end of its log, where it failed."""
    log = run.path / "log.txt"
    if run.state != "failed" or not log.exists():
        return None
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    return details("The last lines of log.txt", tag("pre", "\n".join(lines))) if lines else None


def warnings(groups: Sequence[Group]) -> Safe:
    """Each once, with the runs that gave it."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for run in group.runs:
            for line in run.summary.get("warnings") or ():
                found.setdefault(str(line), []).append(run.name)
    entries = [
        tag("li", line, tag("span", f" ({_few(names)})", class_="note"))
        for line, names in found.items()
    ]
    return section("Warnings", tag("ul", *entries) if entries else None, id_="warnings")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def differences(groups: Sequence[Group]) -> Safe:
    """Keys of the config that are not the same in all runs, and the runs one by one."""
    runs = [run for group in groups for run in group.runs]
    if len(runs) == 1:
        return section("Config", _config(runs[0], "The whole config"), id_="config")
    rows: list[tuple[object, object]] = []
    for key in differing(runs):
        counts: dict[str, int] = {}
        for run in runs:
            value = run.config.get(key, "not there")
            counts[value] = counts.get(value, 0) + 1
        values = (
            tag("span", tag("code", value), f" × {count}", class_="value")
            for value, count in counts.items()
        )
        rows.append((tag("code", key), join(values)))
    same = {k: v for k, v in runs[0].config.items() if k not in differing(runs)}
    common = details(
        f"The {len(same)} keys that all runs share",
        table("Shared config", ("key", "value"), same.items(), numbers_from=9),
    )
    what = pairs(rows) if rows else tag("p", "Nothing: the configs are equal.")
    return section("What differs", what, _runs(groups), common, id_="config")


def _config(run: Run, title: str) -> Safe:
    return details(title, table(title, ("key", "value"), run.config.items(), numbers_from=9))


def _runs(groups: Sequence[Group]) -> Safe:
    """One row a run."""
    rows = []
    for group in groups:
        for run in group.runs:
            status, summary = run.status, run.summary
            val = summary.get("best", {}).get("val")
            rows.append(
                [
                    run.name, group.label, run.config.get("seed", ""), run.state,
                    f"{status.step:,}" if status else "–",
                    f"{summary['seconds']:,.0f}" if "seconds" in summary else "–",
                    f"{val:.4g}" if isinstance(val, int | float) else "–",
                ]
            )  # fmt: skip
    head = ("run", "setting", "seed", "status", "steps", "seconds", "best on val")
    shown = table("Every run", head, rows, sortable=True, numbers_from=4)
    return details(f"The {len(rows)} runs one by one", shown, open_=len(rows) <= _MANY)


def commands(groups: Sequence[Group]) -> Safe:
    """What was typed, each line once."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for run in group.runs:
            for line in run.commands:
                when, typed = line[:19], line[20:]
                found.setdefault(typed, []).append(when)
    entries = []
    for typed, whens in found.items():
        times = f"{whens[0]}" if len(whens) == 1 else f"{len(whens)} starts since {min(whens)}"
        entries.append(
            tag(
                "div", tag("pre", tag("code", typed)),
                tag("button", "Copy", type="button", class_="copy", data_copy=typed),
                tag("span", times, class_="note"), class_="command",
            )
        )  # fmt: skip
    return section("Command", *entries, id_="command")


def provenance(runs: Sequence[Run]) -> Safe:
    """Versions, machine, code and data; where runs differ, each value with its count."""
    found: dict[str, dict[str, int]] = {}
    for run in runs:
        for name, value in (_facts(run) | (_of_one(run) if len(runs) == 1 else {})).items():
            counts = found.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    rows = [
        (name, join(_counted(value, count, len(runs)) for value, count in counts.items()))
        for name, counts in found.items()
    ]
    diffs = {run.provenance["git"]["diff"] for run in runs if _git(run).get("diff")}
    changes = [
        details("Uncommitted changes of the code", tag("pre", diff)) for diff in sorted(diffs)[:3]
    ]
    return section("Provenance", pairs(rows) if rows else None, *changes, id_="provenance")


def _counted(value: str, count: int, of: int) -> Safe:
    return tag("span", value, f" × {count}" if count != of else "", class_="value")


def _git(run: Run) -> dict[str, str]:
    return run.provenance.get("git") or {}


def _facts(run: Run) -> dict[str, str]:
    """In words; only what is known."""
    p, git = run.provenance, _git(run)
    versions = {"dlrun": p.get("dlrun"), "python": p.get("python"), **(p.get("packages") or {})}
    commit = git.get("commit", "")
    facts = {
        "data set": run.config.get("dataset.name", ""),
        "data checksum": p.get("data_checksum", ""),
        "hardware": p.get("hardware", ""),
        "processor": p.get("processor", ""),
        "platform": p.get("platform", ""),
        "versions": ", ".join(
            f"{name} {version}" for name, version in versions.items() if version
        ),
        "git commit": f"{commit}{' with uncommitted changes' if git.get('diff') else ''}",
        "own classes": ", ".join(p.get("own_code") or ()),
        "resumed with": "; ".join(", ".join(r) + " changed" for r in p.get("resumed") or ()),
    }  # fmt: skip
    return {name: value for name, value in facts.items() if value}


def _of_one(run: Run) -> dict[str, str]:
    """What is another in every run anyway."""
    summary, facts = run.summary, {}
    memory, rate = summary.get("peak_memory_bytes"), summary.get("images_per_second")
    if run.status:
        facts["started"] = f"{datetime.fromtimestamp(run.status.started):%Y-%m-%d %H:%M}"
    if "seconds" in summary:
        speed = f", {rate:,.0f} images/s" if rate else ""
        facts["training"] = f"{summary['steps']:,} steps in {summary['seconds']:,.0f} s{speed}"
    if memory:
        facts["peak memory"] = f"{memory / 2**20:,.0f} MiB"
    return facts
