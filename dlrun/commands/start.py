"""Starting a run: what it stands on first, then its own folder."""

from pathlib import Path
from typing import Any

from rich.console import Console

from dlrun.commands.console import log_to, make_console
from dlrun.config.check import check, to_plain_types
from dlrun.config.schema import TrainConfig
from dlrun.runs.folder import RunFolder, claim
from dlrun.runs.run import Run
from dlrun.training.companions import prepared
from dlrun.training.ranks import ALONE, Ranks, joined
from dlrun.training.run import train
from dlrun.views.summary import print_result


def prepare(config: TrainConfig, console: Console, ranks: Ranks = ALONE) -> TrainConfig:
    """`config` with every run that it names settled, and what it needs first trained.

    Of several processes the main one does both: to the others, `last` may be what it trains.
    """

    def train_first(needed: TrainConfig, folder: RunFolder) -> None:
        train(needed, folder, console)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    def plain() -> Any:  # what goes from process to process; classes may be the user's
        return to_plain_types(prepared(config, train_first, say))

    return check(ranks.by_main(plain))


def start(config: TrainConfig) -> None:
    """Trains in a folder of its own and shows what came of it."""
    with joined(config.hardware) as ranks:
        console = console_of(ranks)
        config = prepare(config, console, ranks)
        names = config.dataset.name, config.method.name, config.name
        path = ranks.by_main(lambda: str(claim(Path(config.outputs), *names).path))
        _train(config, RunFolder(Path(path)), ranks, console)


def go_on(config: TrainConfig, folder: RunFolder) -> None:
    """Trains in the folder that the run has, and shows what came of it."""
    with joined(config.hardware) as ranks:
        _train(config, folder, ranks, console_of(ranks))


def console_of(ranks: Ranks) -> Console:
    """One process speaks for all."""
    if not ranks.main:
        return Console(quiet=True)
    console = make_console()
    log_to(console)
    return console


def _train(config: TrainConfig, folder: RunFolder, ranks: Ranks, console: Console) -> None:
    train(config, folder, console, ranks)
    if ranks.main:
        print_result(Run(folder.path), console)
