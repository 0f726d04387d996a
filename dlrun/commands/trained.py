"""What the verbs that use a trained run share: opening it, progress, unreadable files, pictures."""

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.text import printable, short

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.use import TrainedModel
    from dlrun.use.stream import Read


def open_model(options: Namespace, verb: str) -> "TrainedModel":
    """The run's model, if it has the capability `verb`.

    Raises:
        UserError: there is no such run, or it has not; names methods and runs that have.
    """
    import dlrun
    from dlrun.errors import UserError

    model = dlrun.load(options.run, options.which, outputs=options.outputs, device=options.device)
    try:
        model.require(verb)
    except UserError as error:
        raise UserError(f"{error}. {_runs_that(verb, options.outputs)}") from None
    return model


def _runs_that(verb: str, outputs: Path) -> str:
    from dlrun.runs.run import runs_below
    from dlrun.use.model import methods_that
    from dlrun.views.tables import few

    methods = methods_that(verb)
    found = [
        run.name
        for run in runs_below(outputs)
        if run.folder.last.exists() and run.method in methods
    ]
    if not found:
        return f"No run below {outputs} can; train one with dlrun train method={methods[0]}"
    return f"Runs here that can: {few(found[::-1])}"


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal; stdout is for the result.

    Yields:
        A function to be called with the number of images that are done.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from dlrun.console import Console

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("images"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_interactive,
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=total, rate="")

        def advance(count: int) -> None:
            bar.advance(task, count)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f} images/s" if speed else "")

        yield advance


def note(text: str) -> None:
    """A line about what was done, on stderr."""
    print(text, file=sys.stderr)


def report_unreadable(unreadable: "Sequence[Read[Any]]", total: int) -> int:
    """Names the files that could not be read on stderr; the exit code, 1 if there are any."""
    if not unreadable:
        return 0
    note(f"dlrun: {len(unreadable)} of {total} files could not be read:")
    for read in unreadable:
        note(f"  {printable(read.path)}: {read.error}")
    return 1


def output_folder(options: Namespace) -> Path:
    """Where files go without --out: made/ in the run's folder, or FILE-made/ next to FILE."""
    from dlrun.use.load import locate

    path, folder = locate(options.run, options.which, options.outputs)
    return path.with_name(f"{path.stem}-made") if folder is None else folder.path / "made"


def write_pictures(
    options: Namespace, name: str, rows: "Sequence[Tensor]", is_walk: bool = False
) -> None:
    """Writes a grid of images, and what else the flags ask for; prints the paths.

    Args:
        options: of the verb: out, single, gif.
        name: of the file, without --out.
        rows: of the grid, each (N, C, H, W) in [0, 1].
        is_walk: whether the columns follow one another.
    """
    from dlrun.use.pictures import save_grid

    out: Path = options.out or output_folder(options)
    is_file = out.suffix.lower() in (".png", ".jpg", ".jpeg", ".webp")
    path = out if is_file else out / f"{name}.png"
    gif = is_walk and options.gif
    for written in save_grid(rows, path, single=options.single, is_walk=is_walk, gif=gif):
        print(short(written))


def slug(path: str) -> str:
    """The name of a file as a part of another's."""
    return re.sub(r"[^\w-]+", "-", Path(path).stem)[:40] or "image"
