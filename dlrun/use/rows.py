"""Rows of a table to a file or a pipe as they come: CSV, JSON, JSON lines, parquet."""

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from dlrun.errors import UserError
from dlrun.files import output_file

FORMATS = ("csv", "json", "jsonl", "parquet")
Row = Mapping[str, str | float | None]


class Writer(Protocol):
    """Takes rows a batch at a time."""

    def write(self, rows: Sequence[Row]) -> None:
        """Appends rows, each with the same columns."""

    def close(self) -> None:
        """After the last row."""


@contextmanager
def writing(path: Path | None, kind: str, columns: Mapping[str, type]) -> Iterator[Writer]:
    """A writer of `kind` to `path`, which is there whole at the end or not at all; None: stdout.

    Raises:
        UserError: it cannot be written, or pyarrow is missing.
    """
    if kind == "parquet":
        _demand_pyarrow()
    if path is None:
        writer = _writer(sys.stdout, kind, columns)
        yield writer
        writer.close()
        sys.stdout.flush()
        return
    with output_file(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = _writer(file, kind, columns)
        yield writer
        writer.close()


def kind_of(path: Path | None, asked: str | None) -> str:
    """As asked, or by the file's name; CSV to a pipe. Raises UserError."""
    if asked is not None:
        return asked
    suffix = "csv" if path is None else path.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise UserError(f"{path}: expected a name that ends in .{', .'.join(FORMATS)}, or --format")
    return suffix


def _writer(file: IO[str], kind: str, columns: Mapping[str, type]) -> Writer:
    if kind == "csv":
        return _CSV(file, columns)
    return _Parquet(file, columns) if kind == "parquet" else _JSON(file, kind == "jsonl")


class _CSV:
    def __init__(self, file: IO[str], columns: Mapping[str, type]) -> None:
        self.rows = csv.DictWriter(file, list(columns), lineterminator="\n")
        self.rows.writeheader()

    def write(self, rows: Sequence[Row]) -> None:
        self.rows.writerows([{k: _text(value) for k, value in row.items()} for row in rows])

    def close(self) -> None:
        pass


def _text(value: str | float | None) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


class _JSON:
    def __init__(self, file: IO[str], lines: bool) -> None:
        self.file, self.lines, self.count = file, lines, 0

    def write(self, rows: Sequence[Row]) -> None:
        for row in rows:
            before = "" if self.lines else ",\n" if self.count else "[\n"
            text = json.dumps({k: v for k, v in row.items() if v is not None}, ensure_ascii=False)
            self.file.write(f"{before}{text}" + ("\n" if self.lines else ""))
            self.count += 1

    def close(self) -> None:
        if not self.lines:
            self.file.write("\n]\n" if self.count else "[]\n")


class _Parquet:
    def __init__(self, file: IO[str], columns: Mapping[str, type]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {str: pa.string(), float: pa.float32()}
        self.pa, self.names = pa, list(columns)
        self.schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
        self.rows: Any = pq.ParquetWriter(file.buffer, self.schema)  # type: ignore[attr-defined]

    def write(self, rows: Sequence[Row]) -> None:
        columns = {name: [row.get(name) for row in rows] for name in self.names}
        self.rows.write_table(self.pa.table(columns, schema=self.schema))

    def close(self) -> None:
        self.rows.close()


def _demand_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(
            "parquet needs pyarrow: pip install 'dlrun[parquet]', or take CSV or JSON"
        ) from error
