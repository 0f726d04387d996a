"""`dlrun predict RUN IMAGES...`: what images are taken for, as a stream."""

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.using import open_model, parser_of, progress, say, tell_bad

if TYPE_CHECKING:
    from dlrun.use import TrainedModel
    from dlrun.use.rows import Row, Writer

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
    from dlrun.use.rows import kind_of

    if options.top < 1:
        raise UserError(f"--top: got {options.top}, expected 1 or more")
    out = None if options.out in (None, "-") else Path(options.out).expanduser()
    table = options.out is None and options.format is None and sys.stdout.isatty()
    kind = "table" if table else kind_of(out, options.format)
    paths = find_files(options.images)
    model = open_model(options, "predict")
    bad: list[tuple[str, str]] = []
    with _writer(model, options, out, kind) as writer, progress(len(paths)) as advance:
        for rows in _rows(model, paths, options):
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
        "training data was.\nA table on a terminal, CSV into a pipe, or a file by --out.",
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


def _columns(model: "TrainedModel", options: Namespace) -> dict[str, type]:
    """Names and kinds: file, label, probability, label_2, probability_2 ..., error."""
    columns: dict[str, type] = {"file": str}
    for place in range(1, _top(model, options) + 1):
        after = "" if place == 1 else f"_{place}"
        columns |= {f"label{after}": str, f"probability{after}": float}
    if options.all:
        columns |= {f"p({name})": float for name in model.class_names}
    return columns | {"error": str}


def _top(model: "TrainedModel", options: Namespace) -> int:
    return min(int(options.top), len(model.class_names))


@contextmanager
def _writer(
    model: "TrainedModel", options: Namespace, out: Path | None, kind: str
) -> Iterator["Writer"]:
    from dlrun.use.rows import writing

    if kind == "table":
        yield _Terminal(_top(model, options), options.all)
        return
    with writing(out, kind, _columns(model, options)) as writer:
        yield writer


def _rows(model: "TrainedModel", paths: list[str], options: Namespace) -> Iterator[list["Row"]]:
    """Rows of a batch of files at a time."""
    import torch

    from dlrun.data.sources.decoding import decode_file
    from dlrun.use.files import printable, stream
    from dlrun.use.model import Prediction

    columns = _columns(model, options)
    names = model.class_names
    for batch in stream(paths, lambda path: decode_file(path, model.image_shape)):
        good = [read.value for read in batch if read.value is not None]
        found = iter(model.probabilities(torch.stack(good)) if good else ())
        rows: list[Row] = []
        for read in batch:
            row: dict[str, str | float | None] = dict.fromkeys(columns)
            row |= {"file": printable(read.path), "error": read.why or None}
            if read.value is not None:
                probabilities = next(found)
                for place, (label, p) in enumerate(
                    Prediction(names, probabilities).top(_top(model, options)), 1
                ):
                    after = "" if place == 1 else f"_{place}"
                    row |= {f"label{after}": label, f"probability{after}": p}
                if options.all:
                    pairs = zip(names, probabilities.tolist(), strict=True)
                    row |= {f"p({name})": p for name, p in pairs}
            rows.append(row)
        yield rows


class _Terminal:
    """Lines of a table as they come; the columns are as wide as the first batch needs."""

    def __init__(self, top: int, everything: bool) -> None:
        self.top, self.everything, self.width, self.label = top, everything, 0, 0

    def write(self, rows: "Sequence[Row]") -> None:
        """Prints them above the bar."""
        from rich.console import Console

        console = Console()
        if not self.width:
            self.width = min(60, max(len(str(row["file"])) for row in rows))
            self.label = max(len(str(row["label"] or "")) for row in rows)
        for row in rows:
            console.print(self._line(row), highlight=False, markup=False, soft_wrap=True)

    def _line(self, row: "Row") -> str:
        name = str(row["file"])
        shown = name if len(name) <= self.width else f"…{name[1 - self.width :]}"
        cells = [shown.ljust(self.width)]
        if row["error"]:
            return f"{cells[0]}  not read: {row['error']}"
        for place in range(1, self.top + 1):
            after = "" if place == 1 else f"_{place}"
            label, p = str(row[f"label{after}"]), row[f"probability{after}"]
            cells.append(f"{label.ljust(self.label)} {p:.3f}")
        if self.everything:
            cells += [f"{k[2:-1]} {v:.3f}" for k, v in row.items() if k.startswith("p(")]
        return "  ".join(cells)

    def close(self) -> None:
        """Nothing is held back."""
