"""Features to a file as they come, so that memory does not grow with their number."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np

from dlrun.files import output_file
from dlrun.use.collect import Part
from dlrun.use.rows import writing


def write_features(parts: Iterable[Part], path: Path) -> tuple[int, int]:
    """To a .parquet, or X.npy with names and classes in X-names.tsv beside it; whole or not at all.

    Returns:
        How many images there were and how many features each has; of none, no file is written.

    Raises:
        UserError: it cannot be written, or pyarrow is missing.
    """
    found = iter(parts)
    first = next(found, None)
    if first is None:
        return 0, 0
    write = _parquet if path.suffix == ".parquet" else _npy
    return write(chain([first], found), first.features.shape[1], path), first.features.shape[1]


def _npy(parts: Iterator[Part], width: int, path: Path) -> int:
    count = 0
    beside = path.with_name(f"{path.stem}-names.tsv")
    with (
        output_file(path) as whole,
        output_file(beside) as written,
        open(whole, "wb") as file,
        open(written, "wb") as names,
    ):
        start = _header(file, 0, width)
        for part in parts:
            file.write(part.features.numpy().astype("<f4", copy=False).tobytes())
            columns = [part.names] if part.labels is None else [part.names, part.labels]
            lines = ("\t".join(cells) + "\n" for cells in zip(*columns, strict=True))
            names.write("".join(lines).encode())
            count += len(part.names)
        file.seek(0)
        # numpy leaves room for the number of rows, for files that grow.
        assert _header(file, count, width) == start, "a header takes the same room however long"
    return count


def _header(file: IO[bytes], rows: int, columns: int) -> int:
    """Where the numbers begin."""
    told = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
    np.lib.format.write_array_header_1_0(file, told)
    return file.tell()


def _parquet(parts: Iterator[Part], width: int, path: Path) -> int:
    columns: dict[str, type] = {"image": str, "label": str}
    columns |= {f"f{place}": float for place in range(width)}
    count = 0
    with writing(path, "parquet", columns) as writer:
        for part in parts:
            labels: Sequence[str | None] = part.labels or [None] * len(part.names)
            values = zip(part.names, labels, part.features.tolist(), strict=True)
            writer.write(
                [
                    {"image": name, "label": label}
                    | {f"f{place}": value for place, value in enumerate(row)}
                    for name, label, row in values
                ]
            )
            count += len(part.names)
    return count
