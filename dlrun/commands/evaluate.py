"""`dlrun evaluate RUN... [dataset=...]`: every metric that applies, next to what was recorded."""

import json
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from dlrun.commands.parsers import parse, parser_of
from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.options import Metric

if TYPE_CHECKING:
    from rich.table import Table

    from dlrun.use.evaluation import Evaluation


def run(arguments: list[str]) -> int:
    """Evaluates each run."""
    options = parse("evaluate", arguments)
    runs, overrides = _split(options.runs)
    if not runs:
        raise UserError("evaluate: no run was given; `dlrun ls` lists them")
    _demand_fitting(options)
    if options.quality:
        return _quality(runs, overrides, options)

    from dlrun.console import Console, log_to
    from dlrun.use import load
    from dlrun.use.evaluation import evaluate_model, write_tensorboard
    from dlrun.use.load import locate

    console = Console()
    if not options.json:
        log_to(console)
    found, described = [], []
    for name in runs:
        folder = locate(name, options.which, options.outputs)[1]
        if options.tensorboard and folder is None:
            raise UserError(f"--tensorboard: {name} is a file, and has no TensorBoard folder")
        model = load(name, options.which, outputs=options.outputs, device=options.device)
        found.append(evaluate_model(model, folder, options.split, overrides))
        described.append(model.method.metrics)
        if options.tensorboard and folder is not None:
            write_tensorboard(found[-1], folder.tensorboard)
    if options.json:
        print(json.dumps([asdict(evaluation) for evaluation in found], indent=2))
        return 0
    for evaluation, own in zip(found, described, strict=True):
        if evaluation.numbers:
            console.print(_table(evaluation, own))
        else:
            console.say(
                f"{evaluation.run}: {evaluation.method} has no metrics on the {evaluation.split} "
                "split; --quality judges what it generates"
            )
        console.say(*(f"note: {note}" for note in evaluation.notes))
    return 0


def _demand_fitting(options: Namespace) -> None:
    """Raises UserError for a flag that has no effect with, or without, --quality."""
    own = parser_of("evaluate").get_default
    flags = ("split", "which", "tensorboard") if options.quality else ("features", "samples")
    for flag in flags:
        if getattr(options, flag) != own(flag):
            way = "leave it out with --quality" if options.quality else "it needs --quality"
            raise UserError(f"--{flag}: has no effect here; {way}")


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Runs or files, and overrides.

    Raises:
        UserError: something other than the data set is overridden.
    """
    overrides = [word for word in words if _is_override(word)]
    for word in overrides:
        key = word.lstrip("+").partition("=")[0]
        if key.partition(".")[0].partition("@")[0] not in ("dataset", "data_dir"):
            raise UserError(
                f"{word}: only the data set of a trained run can be changed, by dataset=..., "
                "dataset.KEY=... or data_dir=..."
            )
    return [word for word in words if word not in overrides], overrides


def _is_override(word: str) -> bool:
    key, equals, _ = word.partition("=")
    written_so = bool(equals) and "/" not in key and " " not in key
    return written_so and not os.path.exists(expanded(word))


def _quality(runs: list[str], overrides: list[str], options: Namespace) -> int:
    from dlrun.console import Console
    from dlrun.runs.select import find_run
    from dlrun.use.quality import evaluate_quality
    from dlrun.views.summary import print_quality

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


def _table(evaluation: "Evaluation", own: Mapping[str, Metric]) -> "Table":
    from dlrun.evaluation.metrics import describe
    from dlrun.views.tables import numbers_table

    title = (
        f"{evaluation.run}, {evaluation.method} at step {evaluation.step}\n{evaluation.split} "
        f"split of {evaluation.dataset}, {evaluation.images:,} images"
    )
    recorded = ("recorded", "difference") if evaluation.recorded else ()
    table = numbers_table(title, "now", *recorded)
    for name, value in evaluation.numbers.items():
        if "/" in name:  # of each number of a code: for --json and TensorBoard
            continue
        metric, before = describe(name, own), evaluation.recorded.get(name)
        cells = [format(value, metric.form)]
        if evaluation.recorded:
            cells += ["-", "-"] if before is None else [
                format(before, metric.form), format(value - before, f"+{metric.form}")
            ]  # fmt: skip
        table.add_row(f"{metric.label} {metric.arrow}", *cells)
    return table
