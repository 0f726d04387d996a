"""`dlrun evaluate RUN... [dataset=...]`: every metric that applies, next to what was recorded."""

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.parsers import parse

if TYPE_CHECKING:
    from rich.table import Table

    from dlrun.use.judging import Judged


def run(arguments: list[str]) -> int:
    """Evaluates each run."""
    options = parse("evaluate", arguments)

    from dlrun.commands.overrides import split_overrides
    from dlrun.console import Console, log_to
    from dlrun.errors import UserError

    runs, overrides = split_overrides(options.runs)
    if not runs:
        raise UserError("evaluate: no run was given; `dlrun ls` lists them")
    if options.quality:
        return _quality(runs, overrides, options)
    console = Console()
    if not options.json:
        log_to(console)
    found = [_evaluated(name, options, overrides) for name in runs]
    if options.json:
        print(json.dumps([row for row, _ in found], indent=2))
        return 0
    for row, judged in found:
        console.print(_table(row, judged))
        for note in judged.notes:
            console.say(f"note: {note}")
    return 0


def _quality(runs: list[str], overrides: list[str], options: Namespace) -> int:
    from dlrun.console import Console
    from dlrun.errors import UserError
    from dlrun.runs.select import find_run
    from dlrun.use.quality import evaluate_quality
    from dlrun.views.quality import print_quality

    if overrides:
        raise UserError(f"{overrides[0]}: --quality compares with the run's own data set")
    console, found = Console(stderr=options.json), {}
    for name in runs:
        folder = find_run(name, options.outputs).folder
        summary = evaluate_quality(
            folder, options.features, options.samples, options.device, console
        )
        found[str(folder)] = summary["quality"]
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for run, quality in found.items():
        console.say(f"{run}, written to its summary.json")
        print_quality(quality, console)
    return 0


def _evaluated(
    name: str, options: Namespace, overrides: list[str]
) -> "tuple[dict[str, Any], Judged]":
    from dlrun.commands.overrides import dataset_section
    from dlrun.errors import UserError
    from dlrun.use import load
    from dlrun.use.judging import judge, open_for, recorded_of, write_tensorboard
    from dlrun.use.load import locate

    folder = locate(name, options.which, options.outputs)[1]
    if options.tensorboard and folder is None:
        raise UserError(f"--tensorboard: {name} is a file, and has no TensorBoard folder")
    model = load(name, options.which, outputs=options.outputs, device=options.device)
    section, data_dir = dataset_section(model.config, overrides)
    keys = [word.lstrip("+").partition("=")[0] for word in overrides]
    data = open_for(model, section, keys, data_dir)
    same, notes = data.checksum == model.info.checksum, []
    same = same and section["val_fraction"] == model.config["dataset"]["val_fraction"]
    if not same and not overrides:
        notes.append("the data set is not the one that the run was trained on any more")
    recorded = recorded_of(model, folder, options.split) if same else {}
    judged = judge(model, data, options.split, recorded, notes)
    if options.tensorboard and folder is not None:
        write_tensorboard(judged, folder.tensorboard, model.step)
    row = {
        "run": str(folder or Path(name)), "method": model.config["method"]["name"],
        "step": model.step, "dataset": judged.dataset, "split": judged.split,
        "images": judged.images, "numbers": judged.numbers, "recorded": judged.recorded,
        "notes": list(judged.notes),
    }  # fmt: skip
    return row, judged


def _table(row: dict[str, Any], judged: "Judged") -> "Table":
    from rich.table import Table

    from dlrun.evaluation.metrics import describe

    title = (
        f"{row['run']}, {row['method']} at step {row['step']}\n{judged.split} split of "
        f"{judged.dataset}, {judged.images:,} images"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("", overflow="fold")
    table.add_column("now", justify="right")
    if judged.recorded:
        table.add_column("recorded", justify="right")
        table.add_column("difference", justify="right")
    for name, value in judged.numbers.items():
        if "/" in name:  # of each number of a code: for --json and TensorBoard
            continue
        metric, before = describe(name), judged.recorded.get(name)
        cells = [format(value, metric.form)]
        if judged.recorded:
            cells += ["-", "-"] if before is None else [
                format(before, metric.form), format(value - before, f"+{metric.form}")
            ]  # fmt: skip
        table.add_row(f"{metric.label} {metric.arrow}", *cells)
    return table
