"""`dlrun evaluate RUN... [dataset=...]`: every metric that applies, beside what was recorded."""

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.using import RUN, parser_of

if TYPE_CHECKING:
    from rich.table import Table

    from dlrun.use.judging import Judged

_EXAMPLES = """\
  dlrun evaluate last
  dlrun evaluate last --split test --json
  dlrun evaluate 261126-1015 261126-1130 --tensorboard
  dlrun evaluate last dataset=image_folder dataset.root=~/pictures --split test
  dlrun evaluate copied/best.pt dataset.root=/elsewhere/pictures
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
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--tensorboard", action="store_true", help="into the run's own curves too")
    return parser


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
