"""`dlrun predict RUN IMAGES...`: what images are taken for, as a stream."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.using import open_model, parser_of, progress, say, tell_bad

if TYPE_CHECKING:
    from dlrun.use import TrainedModel
    from dlrun.use.rows import Row, Writer
    from dlrun.use.sheet import Sheet

_EXAMPLES = """\
  dlrun predict last cat.jpg dog.png
  dlrun predict last ~/pictures --top 3
  dlrun predict 261126-1015 'holiday/**/*.jpg' -o predicted.csv
  dlrun predict copied/best.pt ~/pictures --format jsonl | head
"""


def run(arguments: list[str]) -> int:
    """Predicts every image; exit code 1 if some could not be read."""
    options = _parser().parse_intermixed_args(arguments)

    from dlrun.errors import UserError
    from dlrun.use.files import find_files
    from dlrun.use.prediction import classes_of
    from dlrun.use.rows import kind_of
    from dlrun.use.sheet import Sheet

    if options.top < 1:
        raise UserError(f"--top: got {options.top}, expected 1 or more")
    out = None if options.out in (None, "-") else Path(options.out).expanduser()
    table = options.out is None and options.format is None and sys.stdout.isatty()
    kind = "table" if table else kind_of(out, options.format)
    paths = find_files(options.images)
    model = open_model(options, "predict")
    sheet = Sheet(classes_of(model), options.top, options.all)
    bad: list[tuple[str, str]] = []
    with _writer(sheet, out, kind) as writer, progress(len(paths)) as advance:
        for rows in _rows(model, paths, sheet):
            writer.write(rows)
            bad += [(str(row["file"]), str(row["error"])) for row in rows if row["error"]]
            advance(len(rows))
    if out is not None:
        say(f"{len(paths) - len(bad):,} predictions: {out}")
    return tell_bad(bad, len(paths))


def _parser() -> Any:
    parser = parser_of(
        "predict",
        "Classify images with a run that classifies. Images of any size and mode are read as its "
        "training data was.\nA table on a terminal, CSV into a pipe, or a file by --out: file, "
        "label, probability, then the same\nof each further thing that the run has learnt "
        "(method.tasks), and why a file could not be read.",
        _EXAMPLES,
    )
    parser.add_argument("images", nargs="+", help="files, folders (all below them) or patterns")
    parser.add_argument(
        "--top", type=int, default=1, metavar="K", help="the K likeliest classes (%(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="a column for each class")
    parser.add_argument("-o", "--out", help="a .csv, .json, .jsonl or .parquet file; - is stdout")
    parser.add_argument(
        "--format", choices=("csv", "json", "jsonl", "parquet"), help="whatever the name ends in"
    )
    return parser


@contextmanager
def _writer(sheet: "Sheet", out: Path | None, kind: str) -> Iterator["Writer"]:
    from dlrun.use.rows import writing

    if kind == "table":
        yield _Terminal(sheet)
        return
    with writing(out, kind, sheet.columns) as writer:
        yield writer


def _rows(model: "TrainedModel", paths: list[str], sheet: "Sheet") -> Iterator[list["Row"]]:
    """Rows of a batch of files at a time."""
    import torch

    from dlrun.data.sources.decoding import decode_file
    from dlrun.use.files import stream
    from dlrun.use.prediction import answers

    for batch in stream(paths, lambda path: decode_file(path, model.image_shape)):
        good = [read.value for read in batch if read.value is not None]
        yield sheet.rows(batch, answers(model, torch.stack(good)) if good else {})


class _Terminal:
    """Lines of a table as they come; the columns are as wide as the first batch needs."""

    def __init__(self, sheet: "Sheet") -> None:
        self.sheet, self.width = sheet, 0

    def write(self, rows: "Sequence[Row]") -> None:
        """Prints them above the bar."""
        from rich.console import Console

        from dlrun.use.files import in_a_line

        console = Console()
        names = [in_a_line(str(row["file"])) for row in rows]
        self.width = self.width or min(60, max(map(len, names)))
        for name, row in zip(names, rows, strict=True):
            shown = name if len(name) <= self.width else f"…{name[1 - self.width :]}"
            told = f"not read: {row['error']}" if row["error"] else "  ".join(self._cells(row))
            line = f"{shown.ljust(self.width)}  {told}"
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _cells(self, row: "Row") -> Iterator[str]:
        for task in self.sheet.tasks:
            head = "" if task.name == "label" else f"{task.name} "
            if task.number is not None:
                yield f"{head}{row[task.number]:.4g}"
            wide = max(map(len, task.classes or ("",)))
            for label, probability in task.likeliest:
                yield f"{head}{str(row[label]).ljust(wide)} {row[probability]:.3f}"
            for name, column in zip(task.classes or (), task.every, strict=False):
                yield f"{head}{name} {row[column]:.3f}"

    def close(self) -> None:
        """Nothing is held back."""
