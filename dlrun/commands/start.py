"""Starting a run: what it stands on first, then its own folder."""

from pathlib import Path

from rich.console import Console

from dlrun.commands.console import log_to, make_console
from dlrun.commands.present import present
from dlrun.config.schema import TrainConfig
from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder, claim
from dlrun.training.companions import prepared
from dlrun.training.ranks import Ranks, joined
from dlrun.training.run import train


def prepare(config: TrainConfig, console: Console) -> TrainConfig:
    """`config` with every run that it names settled, and what it needs first trained."""

    def train_first(needed: TrainConfig, folder: RunFolder) -> None:
        train(needed, folder, console)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    return prepared(config, train_first, say)


def start(config: TrainConfig) -> None:
    """Trains in a folder of its own and shows what came of it."""
    with joined(config.hardware) as ranks:
        if ranks.size > 1:
            demand_nothing_first(config)
        console = _console(ranks)
        config = prepare(config, console)
        path = ""
        if ranks.main:
            names = config.dataset.name, config.method.name, config.name
            path = str(claim(Path(config.outputs), *names).path)
        _train(config, RunFolder(Path(ranks.from_main(path))), ranks, console)


def go_on(config: TrainConfig, folder: RunFolder) -> None:
    """Trains in the folder that the run has, and shows what came of it."""
    with joined(config.hardware) as ranks:
        _train(config, folder, ranks, _console(ranks))


def _console(ranks: Ranks) -> Console:
    """One process speaks for all."""
    if not ranks.main:
        return Console(quiet=True)
    console = make_console()
    log_to(console)
    return console


def _train(config: TrainConfig, folder: RunFolder, ranks: Ranks, console: Console) -> None:
    result = train(config, folder, console, ranks)
    if ranks.main:
        present(result, console)


def demand_nothing_first(config: TrainConfig) -> None:
    """Runs that have to be trained first are trained by one process. Raises UserError."""
    options = config.method.options
    if config.method.name == "distill" and (options.teacher is None or options.baseline):
        raise UserError(
            "method.teacher, method.baseline: with several processes the teacher is given as a run "
            "and the student alone is trained by a command of its own; train them first"
        )
