"""What the verbs that use a trained model share: the run, the progress bar, the bad files."""

import sys
import warnings
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dlrun.commands.arguments import Parser

if TYPE_CHECKING:
    from dlrun.use import TrainedModel

RUN = "a run's folder, its name, the beginning of its name, 'last', or a checkpoint's file"


def parser_of(
    verb: str, description: str, examples: str, run: bool = True, device: bool = True
) -> Parser:
    """A parser with the run and what says how to load it."""
    parser = Parser(
        prog=f"dlrun {verb}",
        description=description,
        epilog=f"Examples:\n{examples.rstrip()}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if run:
        parser.add_argument("run", help=RUN)
    parser.add_argument(
        "--outputs", default="outputs", help="where runs are looked for (%(default)s)"
    )
    parser.add_argument(
        "--which",
        choices=("best", "last"),
        default="best",
        help="of a run, the epoch with the best val value or the last one (%(default)s)",
    )
    if device:
        parser.add_argument(
            "--device",
            choices=("auto", "cpu", "cuda", "mps"),
            default="auto",
            help="where it computes (%(default)s: a GPU if there is one)",
        )
    return parser


def open_model(options: Namespace, verb: str) -> "TrainedModel":
    """The trained model, once it is seen to have the capability `verb`.

    Raises:
        UserError: there is no such run, or it cannot; says which methods can and which runs here.
    """
    import dlrun
    from dlrun.errors import UserError
    from dlrun.use.capability import demand

    # Pillow's remarks on odd files; those that cannot be read are named at the end.
    warnings.filterwarnings("ignore", module=r"PIL\b")
    model = dlrun.load(options.run, options.which, outputs=options.outputs, device=options.device)
    try:
        demand(model, verb)
    except UserError as error:
        raise UserError(f"{error}. {_runs_that(verb, options.outputs)}") from None
    return model


def _runs_that(verb: str, outputs: str) -> str:
    from dlrun.runs.run import runs_below
    from dlrun.use.capability import methods_that

    able = methods_that(verb)
    found = [
        run.name
        for run in runs_below(Path(outputs))
        if run.folder.last.exists() and run.summary.get("method") in able
    ]
    if not found:
        return f"No run below {outputs} can: dlrun train method={able[0]}" if able else ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f"Runs here that can: {', '.join(found[::-1][:3])}{more}"


class Advance(Protocol):
    """Moves a progress bar on."""

    def __call__(self, by: int) -> None:
        """By so many images."""


@contextmanager
def progress(total: int, what: str = "images") -> Iterator[Advance]:
    """A bar on stderr while there is a terminal; stdout stays the result's."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeElapsedColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(by: int) -> None:
            bar.advance(task, by)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f} {what}/s" if speed else "")

        yield advance


def tell_bad(bad: list[tuple[str, str]], total: int) -> int:
    """Names the files that could not be read on stderr; the exit code, 1 if there were any."""
    if not bad:
        return 0
    from dlrun.use.files import in_a_line, printable

    print(f"dlrun: {len(bad)} of {total} files could not be read:", file=sys.stderr)
    for path, why in bad:
        print(f"  {in_a_line(printable(path))}: {why}", file=sys.stderr)
    return 1


def say(text: str) -> None:
    """A line about what was done, on stderr."""
    print(text, file=sys.stderr)


def made_folder(options: Namespace) -> Path:
    """Where the verbs put files unless told otherwise: RUN/made, or beside a bare file."""
    from dlrun.use.load import locate

    path, folder = locate(options.run, options.which, options.outputs)
    found = path.with_name(f"{path.stem}-made") if folder is None else folder.path / "made"
    return found


def shown(path: Path) -> Path:
    """Below the current folder, where it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
