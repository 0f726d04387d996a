"""The end of a run: figures beside baselines, pictures, what to type next."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dlrun.commands.made import made_images, made_notes
from dlrun.evaluation.groups import by_group
from dlrun.evaluation.metrics import describe
from dlrun.runs.folder import RunFolder
from dlrun.training.run import Result

_OTHER = {
    "vae": "dbvae", "dbvae": "supervised", "supervised": "byol", "byol": "siamese",
    "siamese": "capsnet", "capsnet": "cyclegan",
}  # fmt: skip


def present(result: Result, console: Console, next_steps: bool = True) -> None:
    """The final table and, unless switched off, the pictures and the next commands."""
    folder, summary = result.folder, result.summary
    console.print()
    console.print(figures(summary))
    for line in notes(summary):
        console.print(line, highlight=False, markup=False)
    further(summary, console)
    if not next_steps:
        return
    for line in [*look_at(folder), *what_next(folder, summary)]:
        console.print(line, highlight=False, markup=False)


def further(summary: dict[str, Any], console: Console) -> None:
    """The tables that not every run has: of groups, of networks side by side, of made images."""
    if (groups := grouped(summary)) is not None:
        console.print(groups)
    if summary.get("networks"):
        console.print(networks(summary["networks"]))
    elif summary.get("compared"):
        console.print(compared(summary))
    if summary.get("quality"):
        for table in made_images(summary["quality"]):
            console.print(table)
        for line in made_notes(summary["quality"]):
            console.print(line, highlight=False, markup=False)


def figures(summary: dict[str, Any]) -> Table:
    """The test split's numbers: trivial baseline, untrained, last and best."""
    test, best = summary["test"], summary["best"]
    table = Table(title=f"test split, {summary['dataset']}", title_justify="left")
    table.add_column("", overflow="fold")
    for column in ("trivial", "untrained", "last", f"best (step {best['step']})"):
        table.add_column(column, justify="right")
    for name in test["last"]:
        if "/" in name:  # of each number of a code: for TensorBoard and summary.json
            continue
        metric = describe(name)
        cells = [
            _cell(test[column].get(name), metric.form)
            for column in ("trivial", "untrained", "last", "best")
        ]
        table.add_row(f"{metric.label} {metric.arrow}", *cells)
    return table


def grouped(summary: dict[str, Any]) -> Table | None:
    """The test split's numbers of each group; None where none were asked for."""
    last, best = (by_group(summary["test"][column]) for column in ("last", "best"))
    if not best:
        return None
    of_positives = any("negatives" in numbers for numbers in best.values())
    measure = "recall" if of_positives else "accuracy"
    columns = {"precision": "precision", "false_positive_rate": "false positives"}
    shown = [key for key in columns if any(key in numbers for numbers in best.values())]
    of = f" of {summary['positive']}" if of_positives else ""
    table = Table(title=f"{measure}{of} by group, test split", title_justify="left")
    if of_positives and not shown:
        table.caption = "precision and false positives are above: negatives have no group"
    table.add_column("", overflow="fold")
    heads = ("images", "last", "best", "95% interval", *(columns[key] for key in shown))
    for head in heads:
        table.add_column(head, justify="right")
    for name, numbers in best.items():
        interval = f"{numbers['low']:.3f} - {numbers['high']:.3f}" if numbers["n"] else "no images"
        table.add_row(
            name,
            f"{numbers['n']:,.0f}",
            _cell(last[name].get(measure), ".3f"),
            _cell(numbers.get(measure), ".3f"),
            interval,
            *(_cell(numbers.get(key), ".3f") for key in shown),
        )
    return table


def networks(rows: dict[str, dict[str, Any]]) -> Table:
    """A distillation's networks side by side: test accuracy, size, speed."""
    table = Table(title="distillation, test accuracy", title_justify="left")
    table.add_column("", overflow="fold")
    for column in ("last", "best", "parameters", "images/s"):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        size, speed = row.get("parameters"), row.get("images_per_second")
        table.add_row(
            name,
            _cell(row["last"], ".4f"),
            _cell(row["best"], ".4f"),
            f"{size:,}" if size else "as student",
            f"{speed:,.0f}" if speed else "as student",
        )
    return table


def compared(summary: dict[str, Any]) -> Table:
    """The run beside those that it is compared with: the test split, last weights."""
    table = Table(title="compared with: test split, last", title_justify="left")
    others: dict[str, dict[str, float]] = summary["compared"]
    table.add_column("", overflow="fold")
    for column in ("this run", *others):
        table.add_column(column, justify="right")
    own = summary["test"]["last"]
    for name in own:
        if "/" in name:
            continue
        metric = describe(name)
        values = [own[name], *(numbers.get(name) for numbers in others.values())]
        table.add_row(
            f"{metric.label} {metric.arrow}", *(_cell(value, metric.form) for value in values)
        )
    return table


def notes(summary: dict[str, Any]) -> list[str]:
    """What the columns mean and what the run took."""
    trivial = [
        f"{describe(name).label.strip()} of {describe(name).trivial}"
        for name in summary["test"]["trivial"]
        if describe(name).trivial
    ]
    lines = [f"trivial: {'; '.join(trivial)}"] if trivial else []
    key, best = summary["key_metric"], summary["best"]
    if key and best["val"] is not None:
        lines.append(
            f"best was chosen by val {key} ({best['val']:.4g}); the test split chose nothing"
        )
    lines += [f"warning: {line}" for line in summary.get("warnings", ())]
    rate = summary["images_per_second"]
    speed = f", {rate:,.0f} images/s" if rate else ""
    lines.append(
        f"{summary['steps']:,} steps in {summary['seconds']:.0f} s{speed}, "
        f"and {summary['test_seconds']:.0f} s for the test"
    )
    return lines


def look_at(folder: RunFolder) -> list[str]:
    """The newest picture of each kind."""
    newest: dict[str, Path] = {}
    for path in sorted(folder.samples.glob("*.png")):
        newest[path.stem.rpartition("-")[0]] = path
    named = [path for kind, path in newest.items() if kind != "views"] or list(newest.values())
    return ["", "look at:", *(f"  {_short(path)}" for path in named)] if named else []


def what_next(folder: RunFolder, summary: dict[str, Any]) -> list[str]:
    """Commands to type that work as they stand."""
    method = summary["method"]
    other = _OTHER.get(method, "vae")
    lines = [f"  dlrun show {folder.name}"]
    if summary["generates"]:
        lines.append(f"  dlrun evaluate {folder.name} --quality")
    lines += [
        f"  tensorboard --logdir {_short(folder.path.parents[2])}",
        f"  dlrun train method={other}",
    ]
    if method == "supervised" and summary["dataset"] == "fashion_mini":  # no more need be typed
        lines.append(f"  dlrun train method=distill method.teacher={folder.name} model=resnet8")
    if ":" not in method:  # a class of the user's own; its option's name is not known here
        lines.append(f"  dlrun train -m method={method} seed=0,1,2")
    return ["", "next:", *lines]


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
