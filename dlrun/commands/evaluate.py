"""`dlrun evaluate RUN... [dataset=...]`: every metric that applies, beside what was recorded."""

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.using import RUN, parser_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from dlrun.use.judging import Judged

_EXAMPLES = """\
  dlrun evaluate last
  dlrun evaluate last --split test --json
  dlrun evaluate 261126-1015 261126-1130 --tensorboard
  dlrun evaluate last dataset=image_folder dataset.root=~/pictures --split test
  dlrun evaluate copied/best.pt dataset.root=/elsewhere/pictures
  dlrun evaluate last --quality
"""


def run(arguments: list[str]) -> int:
    """Evaluates each run."""
    options = _parser().parse_intermixed_args(arguments)

    from dlrun.commands.console import log_to, make_console
    from dlrun.commands.overrides import split_overrides
    from dlrun.errors import UserError

    runs, overrides = split_overrides(options.runs)
    if not runs:
        raise UserError("evaluate: no run was named; `dlrun ls` lists them")
    console = make_console()
    if options.quality:
        return _quality(runs, overrides, options, console)
    if not options.json:
        log_to(console)
    found = [_evaluated(name, options, overrides) for name in runs]
    if options.json:
        print(json.dumps([row for row, _ in found], indent=2))
        return 0
    for row, judged in found:
        console.print(_table(row, judged))
        for note in judged.notes:
            console.print(f"note: {note}", highlight=False, markup=False)
    return 0


def _parser() -> Any:
    parser = parser_of(
        "evaluate",
        "Every metric that applies to a run, on the val split unless asked otherwise, with the "
        "run's\nown options and seed, beside what was recorded when it was trained.",
        _EXAMPLES,
        run=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help=f"{RUN}; and dataset=... options")
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        default="val",
        help="whose images are judged (%(default)s); test has chosen nothing, keep it so",
    )
    parser.add_argument(
        "--quality",
        action="store_true",
        help="how good generated images are: KID, FID, precision and recall on the test split, "
        "written into the run's summary, where ls, compare, leaderboard and report see them",
    )
    parser.add_argument(
        "--features",
        default="auto",
        help="for --quality, the network whose features are compared: auto (a small classifier, "
        "trained once a data set in 10 s), random, or your Inception v3 as a file "
        "(pt_inception-2015-12-05, the FID's, or torchvision's)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        default=1000,
        help="for --quality, images that are generated, or as many as the test split has "
        "(%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--tensorboard", action="store_true", help="into the run's own curves too")
    return parser


def _quality(runs: list[str], overrides: list[str], options: Namespace, console: "Console") -> int:
    from dlrun.errors import UserError
    from dlrun.runs.select import find_run
    from dlrun.use.quality import evaluate_quality
    from dlrun.views.quality import made_images, made_notes

    if overrides:
        raise UserError(f"{overrides[0]}: --quality compares with the run's own data set")
    if options.samples < 10:
        raise UserError(f"--samples: got {options.samples}, expected an integer >= 10")
    found = {}
    for name in runs:
        folder = find_run(name, Path(options.outputs)).folder
        summary = evaluate_quality(
            folder, options.features, options.samples, options.device, _said(options, console)
        )
        found[str(folder)] = summary["quality"]
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for run, quality in found.items():
        console.print(f"{run}, written into its summary.json", highlight=False, markup=False)
        for table in made_images(quality):
            console.print(table)
        for line in made_notes(quality):
            console.print(line, highlight=False, markup=False)
    return 0


def _said(options: Namespace, console: "Console") -> "Console":
    """Where progress is told: beside JSON on stderr."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True) if options.json else console


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
        raise UserError(f"--tensorboard: {name} is a file; it has no curves to add to")
    model = load(name, options.which, outputs=options.outputs, device=options.device)
    section, data_dir = dataset_section(model.config, overrides)
    keys = [word.lstrip("+").partition("=")[0] for word in overrides]
    data = open_for(model, section, keys, data_dir)
    same, notes = data.checksum == model.info.checksum, []
    same = same and section["val_fraction"] == model.config["dataset"]["val_fraction"]
    if not same and not overrides:
        notes.append("the data set is no longer what the run has learnt from")
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
