"""Starting a run: what it stands on first, then its own folder."""

from pathlib import Path

from rich.console import Console

from dlrun.config.schema import TrainConfig
from dlrun.runs.folder import RunFolder, claim
from dlrun.training.companions import prepared
from dlrun.training.run import Result, train


def prepare(config: TrainConfig, console: Console) -> TrainConfig:
    """`config` with every run that it names settled, and what it needs first trained."""

    def train_first(needed: TrainConfig, folder: RunFolder) -> None:
        train(needed, folder, console)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    return prepared(config, train_first, say)


def start(config: TrainConfig, console: Console) -> Result:
    """Trains in a folder of its own."""
    config = prepare(config, console)
    folder = claim(Path(config.outputs), config.dataset.name, config.method.name, config.name)
    return train(config, folder, console)
