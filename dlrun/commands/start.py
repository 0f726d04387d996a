"""Starting and resuming a run: what it needs first, then the run in its own folder."""

from contextlib import suppress
from pathlib import Path

from dlrun.config.schema import TrainConfig
from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder, claim
from dlrun.runs.removal import Item, remove
from dlrun.runs.run import Run
from dlrun.runs.status import read_status
from dlrun.training.prerequisites import ready, train_compared
from dlrun.training.ranks import Ranks, process_group
from dlrun.training.run import Result
from dlrun.views.summary import print_result


def start(config: TrainConfig) -> None:
    """Trains in a folder of its own and shows what came of it."""
    with process_group(config.hardware) as ranks:
        console = ranks.console()
        config = ready(config, console, ranks)
        names = config.dataset.name, config.method.name, config.name
        path = ranks.on_main_rank(lambda: str(claim(Path(config.outputs), *names).path))
        folder = RunFolder(Path(path))
        try:
            result = train_compared(config, folder, console, ranks)
        except UserError as error:
            if ranks.main and error.exit_code == UserError.exit_code and _is_empty(folder):
                with suppress(UserError):  # refused before its first step: there is no run
                    remove(Item(folder.path, "refused run"))
            raise
        _show(result, ranks, console)


def resume(config: TrainConfig, folder: RunFolder) -> None:
    """Trains in the folder that the run has, and shows what came of it."""
    with process_group(config.hardware) as ranks:
        console = ranks.console()
        _show(train_compared(config, folder, console, ranks), ranks, console)


def _is_empty(folder: RunFolder) -> bool:
    status = read_status(folder)
    saved = folder.last.exists() or folder.best.exists()
    return (status is None or not status.step) and not saved


def _show(result: Result, ranks: Ranks, console: Console) -> None:
    if ranks.main:
        print_result(Run(result.folder.path), console)
