"""Predictions and features to a file, batch by batch; the file appears whole or not at all."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from dlrun.errors import UserError
from dlrun.files import output_file
from dlrun.text import csv_writer
from dlrun.use.features import Part
from dlrun.use.model import LABEL, Prediction
from dlrun.use.stream import Read, writable

Row = Mapping[str, str | float | None]
Write = Callable[[Sequence[Row]], object]
"""Appends some rows, which all have the same columns."""


@contextmanager
def row_writer(path: Path | None, kind: str, columns: Mapping[str, type]) -> Iterator[Write]:
    """Writes rows to `path`, or to standard output if it is None, in one of FORMATS.

    `columns` are their names, and str or float. Raises UserError if the file cannot be written, or
    pyarrow is missing.
    """
    if path is None:
        with FORMATS[kind](sys.stdout, columns) as write:
            yield write
        sys.stdout.flush()
        return
    with (
        output_file(path) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
        FORMATS[kind](file, columns) as write,
    ):
        yield write


def kind_of(path: Path | None, given: str | None) -> str:
    """The format that was given, else that of the file's name; CSV for a pipe. Raises UserError."""
    if given is not None:
        return given
    suffix = "csv" if path is None else path.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise UserError(f"{path}: expected a name that ends in .{', .'.join(FORMATS)}, or --format")
    return suffix


@contextmanager
def _csv(file: IO[str], columns: Mapping[str, type]) -> Iterator[Write]:
    writer = csv_writer(file)
    writer.writerow(columns)
    yield lambda rows: writer.writerows([_cell(row[name]) for name in columns] for row in rows)


def _cell(value: str | float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


@contextmanager
def _json(file: IO[str], columns: Mapping[str, type]) -> Iterator[Write]:
    before = "[\n"

    def write(rows: Sequence[Row]) -> None:
        nonlocal before
        for row in rows:
            file.write(before + _object(row))
            before = ",\n"

    yield write
    file.write("[]\n" if before == "[\n" else "\n]\n")


@contextmanager
def _jsonl(file: IO[str], columns: Mapping[str, type]) -> Iterator[Write]:
    yield lambda rows: file.writelines(f"{_object(row)}\n" for row in rows)


def _object(row: Row) -> str:
    known = {name: value for name, value in row.items() if value is not None}
    return json.dumps(known, ensure_ascii=False)


@contextmanager
def _parquet(file: IO[str], columns: Mapping[str, type]) -> Iterator[Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            "parquet needs pyarrow: pip install 'dlrun[parquet]', or write CSV or JSON"
        ) from error
    kinds = {str: pa.string(), float: pa.float32()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    bytes_of: Any = file
    with pq.ParquetWriter(bytes_of.buffer, schema) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(list(rows), schema))


FORMATS: dict[str, Callable[[IO[str], Mapping[str, type]], AbstractContextManager[Write]]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


class Sheet:
    """The table of `file`, its predictions, and `error`.

    Args:
        tasks: what is predicted, as in `TrainedModel.tasks`.
        top: how many of the most probable classes get columns.
        every: whether each class has a column of its own, too.
    """

    def __init__(self, tasks: Mapping[str, tuple[str, ...] | None], top: int, every: bool) -> None:
        self.tasks, self.top, self.every = tasks, top, every
        self.columns: dict[str, type] = {"file": str}
        """Their names, and str or float."""
        self._of_task: dict[str, list[str]] = {}
        for task, classes in tasks.items():
            self._of_task[task] = []
            for name, kind in self._columns_of(task, classes).items():
                while name in self.columns or name == "error":  # a task may be called `file`
                    name += "_"
                self.columns[name] = kind
                self._of_task[task].append(name)
        self.columns["error"] = str

    def _columns_of(self, task: str, classes: tuple[str, ...] | None) -> dict[str, type]:
        if classes is None:
            return {task: float}
        chance, of = ("probability", "") if task == LABEL else (f"{task}_probability", f"{task}=")
        found: dict[str, type] = {}
        for rank in range(1, min(self.top, len(classes)) + 1):
            end = "" if rank == 1 else f"_{rank}"
            found |= {f"{task}{end}": str, f"{chance}{end}": float}
        return found | {f"p({of}{name})": float for name in classes if self.every}

    def row(self, read: Read[Tensor], predicted: Mapping[str, Prediction | float]) -> Row:
        """Of a file and its predictions, which are empty if it cannot be read."""
        row = dict.fromkeys(self.columns) | {"file": writable(read.path)}
        for task, value in predicted.items():
            values: list[str | float] = [value] if isinstance(value, float) else []
            if isinstance(value, Prediction):
                values += chain(*value.top(self.top))
                values += value.probabilities.tolist() if self.every else []
            row |= zip(self._of_task[task], values, strict=True)
        return row | {"error": read.error or None}

    def cells(self, row: Row) -> Iterator[str]:
        """The predictions of a row for a terminal."""
        for task, classes in self.tasks.items():
            head = "" if task == LABEL else f"{task} "
            values = [row[column] for column in self._of_task[task]]
            if classes is None:
                yield f"{head}{values[0]:.4g}"
                continue
            width, most = max(map(len, classes)), 2 * min(self.top, len(classes))
            for label, chance in zip(values[:most:2], values[1:most:2], strict=True):
                yield f"{head}{str(label).ljust(width)} {chance:.3f}"
            for name, chance in zip(classes, values[most:], strict=False):
                yield f"{head}{name} {chance:.3f}"


def write_features(parts: Iterable[Part], path: Path) -> tuple[int, int]:
    """To a .parquet, or to X.npy with names and classes in X-names.tsv, batch by batch.

    Returns:
        How many images there were and how many features each has; without images, no file.

    Raises:
        UserError: it cannot be written, or pyarrow is missing.
    """
    stream = iter(parts)
    first = next(stream, None)
    if first is None:
        return 0, 0
    width = first.features.shape[1]
    write = _feature_rows if path.suffix == ".parquet" else _feature_array
    return write(chain([first], stream), width, path), width


def _feature_array(parts: Iterator[Part], width: int, path: Path) -> int:
    count = 0
    with (
        output_file(path) as array,
        output_file(path.with_name(f"{path.stem}-names.tsv")) as table,
        open(array, "wb") as file,
        open(table, "w", encoding="utf-8", newline="") as names,
    ):
        start = _header(file, 0, width)
        for part in parts:
            file.write(part.features.numpy().astype("<f4", copy=False).tobytes())
            columns = [part.names] if part.labels is None else [part.names, part.labels]
            names.writelines("\t".join(cells) + "\n" for cells in zip(*columns, strict=True))
            count += len(part.names)
        file.seek(0)
        # numpy leaves room for the number of rows, for files that grow.
        assert _header(file, count, width) == start, "the header's size depends on its numbers"
    return count


def _header(file: IO[bytes], rows: int, columns: int) -> int:
    """Where the numbers begin."""
    described = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
    np.lib.format.write_array_header_1_0(file, described)
    return file.tell()


def _feature_rows(parts: Iterator[Part], width: int, path: Path) -> int:
    columns = {"image": str, "label": str, **{f"f{index}": float for index in range(width)}}
    count = 0
    with row_writer(path, "parquet", columns) as write:
        for part in parts:
            labels: Sequence[str | None] = part.labels or [None] * len(part.names)
            values = [part.names, labels, *part.features.T.tolist()]
            write([dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)])
            count += len(part.names)
    return count
