"""`dlrun predict RUN IMAGES...`: the classes of images, as a stream."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.commands.parsers import parse
from dlrun.commands.trained import note, open_model, progress, report_unreadable

if TYPE_CHECKING:
    from dlrun.use.write import Row, Sheet


def run(arguments: list[str]) -> int:
    """Predicts every image; exit code 1 if some could not be read."""
    options = parse("predict", arguments)

    from dlrun.use.stream import find_files, read_batches
    from dlrun.use.write import Sheet, kind_of, row_writer

    out = None if options.out == Path("-") else options.out
    is_table = options.out is None and options.format is None and sys.stdout.isatty()
    kind = kind_of(out, options.format)
    paths = find_files(options.images)
    model = open_model(options, "predict")
    sheet = Sheet(model.tasks, options.top, options.all)
    writer = _table(sheet) if is_table else row_writer(out, kind, sheet.columns)
    unreadable = []
    with writer as write, progress(len(paths)) as advance:
        for batch, table in read_batches(paths, model.image_shape, model.info.bits):
            predictions = iter(model.predict_tasks(table) if len(table) else ())
            write([sheet.row(r, {} if r.value is None else next(predictions)) for r in batch])
            unreadable += [read for read in batch if read.value is None]
            advance(len(batch))
    if out is not None:
        note(f"{len(paths) - len(unreadable):,} predictions: {out}")
    return report_unreadable(unreadable, len(paths))


@contextmanager
def _table(sheet: "Sheet") -> "Iterator[Callable[[Sequence[Row]], None]]":
    """Prints rows as they come; names are as wide as those of the first batch."""
    from dlrun.console import Console
    from dlrun.text import printable

    console, width = Console(), 0

    def write(rows: "Sequence[Row]") -> None:
        nonlocal width
        names = [printable(str(row["file"])) for row in rows]
        width = width or min(60, max(map(len, names)))
        for name, row in zip(names, rows, strict=True):
            cut = name if len(name) <= width else f"…{name[1 - width :]}"
            what = f"not read: {row['error']}" if row["error"] else "  ".join(sheet.cells(row))
            console.say(f"{cut.ljust(width)}  {what}", wrap=False)

    yield write
