"""One run: its numbers beside the baselines, how good its images are, and what to type next."""

import shlex
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from dlrun.console import Console
from dlrun.evaluation.metrics import describe, metrics_of
from dlrun.runs.run import TESTED, Run, by_image_group
from dlrun.runs.shapes import WHOLE_SUMMARY, misfit
from dlrun.text import short, show
from dlrun.views.tables import add_row, cell, numbers_table, plain_table

_OTHER = {
    "vae": "dbvae", "dbvae": "supervised", "supervised": "byol", "byol": "siamese",
    "siamese": "capsnet", "capsnet": "cyclegan",
}  # fmt: skip
_DIGITS = {"kid": 3, "fid": 2, "precision": 2, "recall": 2}
_HEADS = {"kid": "KID", "fid": "FID"}
_DIRECTIONS = {"a_to_b": "A to B", "b_to_a": "B to A"}


def print_result(run: Run, console: Console, next_steps: bool = True) -> None:
    """The end of a training: the numbers and, unless switched off, pictures and commands."""
    console.print()
    _print_numbers(run.summary, console)
    if next_steps:
        console.say(*_look_at(run), *_what_next(run))


def print_run(run: Run, console: Console) -> None:
    """`dlrun show`."""
    console.say(str(run.folder))
    if run.state != "unknown":
        reason = f": {run.reason}" if run.reason else ""
        console.say(f"{run.state} at step {run.status.step} of {run.status.total}{reason}")
    if run.provenance:
        git = run.provenance.get("git") or {}
        changed = " with changes" if git.get("diff") else ""
        commit = f", commit {git['commit'][:10]}{changed}" if git else ""
        torch = run.provenance.get("packages", {}).get("torch", "?")
        console.say(f"torch {torch}{commit}; {run.provenance.get('hardware', '?')}")
    if not misfit(run.summary, WHOLE_SUMMARY):
        _print_numbers(run.summary, console)
    else:
        latest = {name: points[max(points)][1] for name, points in run.history.items()}
        console.say("  ".join(f"{name} {value:.4g}" for name, value in latest.items()))
    console.say(*_look_at(run), "")
    table = Table.grid(padding=(0, 2))
    for key, value in run.config.items():
        add_row(table, key, show(value))
    console.print(table, highlight=False)
    if run.can_resume:
        console.say(f"\nresume it with: dlrun resume {shlex.quote(run.name)}")


def _print_numbers(summary: dict[str, Any], console: Console) -> None:
    console.print(metrics_table(summary))
    console.say(*_notes(summary))
    if (groups := groups_table(summary)) is not None:
        console.print(groups)
    if summary.get("networks"):
        console.print(_distillation_table(summary["networks"]))
    elif summary.get("compared"):
        console.print(compared_table(summary))
    if summary.get("quality"):
        print_quality(summary["quality"], console)


def metrics_table(summary: dict[str, Any]) -> Table | str:
    """The test split's numbers: trivial baseline, untrained, last and best."""
    if all("/" in name for name in summary["test"]["last"]):
        return "test split: the method has no metrics there"
    best = f"best (step {summary['best']['step']})"
    table = numbers_table(f"test split, {summary['dataset']}", *TESTED[:-1], best)
    _add_metrics(table, summary, [summary["test"][which] for which in TESTED])
    return table


def _add_metrics(
    table: Table, summary: dict[str, Any], columns: Sequence[dict[str, float]]
) -> None:
    """A row for each metric, without those of single parts, which the run's files have."""
    for name in summary["test"]["last"]:
        if "/" not in name:
            metric = describe(name, metrics_of(summary))
            cells = [cell(numbers.get(name), metric.form) for numbers in columns]
            add_row(table, f"{metric.label} {metric.arrow}", *cells)


def groups_table(summary: dict[str, Any]) -> Table | None:
    """The test split's numbers for each group of images; None where no groups were asked for."""
    last, best = (by_image_group(summary["test"][which]) for which in ("last", "best"))
    if not best:
        return None
    of_positives = any("negatives" in numbers for numbers in best.values())
    measure = "recall" if of_positives else "accuracy"
    columns = {"precision": "precision", "false_positive_rate": "false positives"}
    shown = [key for key in columns if any(key in numbers for numbers in best.values())]
    of = f" of {summary['positive']}" if of_positives else ""
    heads = ("images", "last", "best", "95% interval", *(columns[key] for key in shown))
    table = numbers_table(f"{measure}{of} by group, test split", *heads)
    if of_positives and not shown:
        table.caption = "precision and false positives are above: negatives have no group"
    for name, numbers in best.items():
        own = measure if measure in numbers else "accuracy"  # of a task that is not the label
        interval = f"{numbers['low']:.3f} - {numbers['high']:.3f}" if numbers["n"] else "no images"
        add_row(
            table, name, f"{numbers['n']:,.0f}", cell(last[name].get(own), ".3f"),
            cell(numbers.get(own), ".3f"), interval,
            *(cell(numbers.get(key), ".3f") for key in shown),
        )  # fmt: skip
    return table


def _distillation_table(rows: dict[str, dict[str, Any]]) -> Table:
    """A distillation's networks side by side: test accuracy, size, speed."""
    table = numbers_table("distillation, test accuracy", "last", "best", "parameters", "images/s")
    for name, row in rows.items():
        size, speed = row.get("parameters"), row.get("images_per_second")
        add_row(
            table, name, cell(row["last"], ".4f"), cell(row["best"], ".4f"),
            f"{size:,}" if size else "as student", f"{speed:,.0f}" if speed else "as student",
        )  # fmt: skip
    return table


def compared_table(summary: dict[str, Any]) -> Table:
    """The run next to those that it is compared with: the test split, last weights."""
    table = numbers_table("compared with: test split, last", "this run", *summary["compared"])
    _add_metrics(table, summary, [summary["test"]["last"], *summary["compared"].values()])
    return table


def _notes(summary: dict[str, Any]) -> list[str]:
    """What the columns mean and how long the run took."""
    own = metrics_of(summary)
    trivial = [
        f"{metric.label.strip()} of {metric.trivial}"
        for name in summary["test"]["trivial"]
        if (metric := describe(name, own)).trivial
    ]
    lines = [f"trivial: {'; '.join(trivial)}"] if trivial else []
    key, best = summary["key_metric"], summary["best"]
    if key and best["val"] is not None:
        lines.append(
            f"best was chosen by val {key} ({best['val']:.4g}); test was not used for selection"
        )
    lines += [f"warning: {line}" for line in summary.get("warnings", ())]
    rate = summary["images_per_second"]
    speed = f", {rate:,.0f} images/s" if rate else ""
    lines.append(
        f"{summary['steps']:,} steps in {summary['seconds']:.0f} s{speed}, "
        f"and {summary['test_seconds']:.0f} s for the test"
    )
    return lines


def print_quality(quality: dict[str, Any], console: Console) -> None:
    """A table for samples, or one for each direction of a translation, and what they mean."""
    for key, compared in quality["sets"].items():
        console.print(_quality_table(key, compared))
    console.say(*_quality_notes(quality))


def _quality_notes(quality: dict[str, Any]) -> list[str]:
    """What the rows and the intervals mean, and what to be wary of."""
    lines, sets = [], quality["sets"]
    if sets:
        key = next(iter(sets))
        lines.append(f"features: {quality['features']}, of {quality['source']}")
        ceiling = "noise: uniform" if key == "samples" else "as it is: not translated"
        lines.append(
            f"real: as many train images, the best to hope for; {ceiling}; ± is a 95% interval"
        )
        recognized = [name for name in sets[key]["rows"]["real"] if name.startswith("taken[")]
        if recognized:
            lines.append(
                f"taken for the target by {recognized[0][6:-1]}, a classifier of the two domains "
                f"alone, of {quality['domains']}; real: its accuracy on the target's test images"
            )
    return lines + [f"warning: {line}" for line in quality["warnings"]]


def _quality_table(key: str, compared: dict[str, Any]) -> Table:
    """A row for each set of images; real ones first, then the baseline, the best weights last."""
    what = "generated" if key == "samples" else f"translated {_DIRECTIONS[key]}"
    title = f"{compared['images']:,} images {what}, next to {compared['real']:,} test images"
    rows = compared["rows"]
    names = list(rows["real"])
    kinds = [name.partition("[")[0] for name in names]
    heads = [f"{_HEADS.get(kind, kind)} {describe(kind).arrow}" for kind in kinds]
    table = plain_table(title, "", numbers=heads, broken=True)
    order = ["real", "ceiling", *(row for row in rows if row not in ("real", "ceiling"))]
    ceiling = "noise" if key == "samples" else "as it is"
    for row in sorted(order, key=lambda row: row.startswith(("last", "best"))):
        cells = [_estimate(name, rows[row].get(name)) for name in names]
        add_row(table, ceiling if row == "ceiling" else row, *cells)
    return table


def _estimate(name: str, estimate: dict[str, float | None] | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "-"
    kind, value, error = name.partition("[")[0], estimate["value"], estimate["error"]
    if kind == "taken":
        return f"{value:.2f}"
    half = None if error is None else 1.96 * error
    digits = _DIGITS[kind]
    if max(abs(value), half or 0) >= 100:
        digits = max(0, digits - 2)
    return f"{value:.{digits}f}" + ("" if half is None else f" ± {half:.{digits}f}")


def _look_at(run: Run) -> list[str]:
    """The newest picture of each kind."""
    newest = {kind: short(pictures[-1][1]) for kind, pictures in run.pictures.items()}
    named = [path for kind, path in newest.items() if kind != "views"] or list(newest.values())
    return ["", "look at:", *(f"  {path}" for path in named)] if named else []


def _what_next(run: Run) -> list[str]:
    """Commands to type that work as they are."""
    other, name = _OTHER.get(run.method, "vae"), shlex.quote(run.name)
    generates = run.summary.get("generates")
    lines = [
        f"  dlrun show {name}",
        *([f"  dlrun evaluate {name} --quality"] if generates else []),
        f"  tensorboard --logdir {shlex.quote(short(run.path.parents[2]))}",
        f"  dlrun train method={other}",
    ]
    if run.method == "supervised" and run.dataset == "fashion_mini":  # no more need be typed
        lines.append(f"  dlrun train method=distill method.teacher={name} model=resnet8")
    if ":" not in run.method:  # a class of the user's own; its option's name is not known here
        lines.append(f"  dlrun train -m method={run.method} seed=0,1,2")
    return ["", "next:", *lines]
