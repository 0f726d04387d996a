"""Starting and resuming a run: what it needs first, then the run in its own folder."""

from pathlib import Path

from dlrun.config.schema import TrainConfig
from dlrun.console import Console
from dlrun.runs.folder import RunFolder, claim
from dlrun.runs.run import Run
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
        _show(train_compared(config, RunFolder(Path(path)), console, ranks), ranks, console)


def resume(config: TrainConfig, folder: RunFolder) -> None:
    """Trains in the folder that the run has, and shows what came of it."""
    with process_group(config.hardware) as ranks:
        console = ranks.console()
        _show(train_compared(config, folder, console, ranks), ranks, console)


def _show(result: Result, ranks: Ranks, console: Console) -> None:
    if ranks.main:
        print_result(Run(result.folder.path), console)
