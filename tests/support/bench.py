"""A run in one folder whose val accuracies are given, trained again and again."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check
from dlrun.console import Console
from dlrun.runs.folder import RunFolder
from dlrun.training import checkpoint
from dlrun.training import loop as loop_module
from dlrun.training import run as run_module
from dlrun.training.loop import Progress

EVERY, TOTAL = 3, 30


def config(folder: Path, *overrides: str) -> TrainConfig:
    small = (
        "method=supervised", "model=mlp", "model.hidden=[4]", "batch_size=8", "hardware=cpu",
        "optimizer.lr=0.01", f"steps={TOTAL}", f"eval_every={EVERY}", "checkpoint_every=1",
        "log_every=4", f"outputs={folder}",
    )  # fmt: skip
    return check(compose_plain([*small, *overrides], None))


class Script:
    """Stands for the evaluation on val: gives these accuracies in turn, then fails."""

    def __init__(self, *values: float) -> None:
        self.values: Iterator[float] = iter(values)

    def __call__(self, *_: Any, **__: Any) -> dict[str, float]:
        value = next(self.values, None)
        if value is None:
            raise Killed
        return {"accuracy": value}


class Killed(BaseException):
    """The process is gone at this moment."""


class Bench:
    """Trains in one folder, again and again."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path.mkdir()
        self.folder, self.monkeypatch = RunFolder(path), monkeypatch
        self.out = io.StringIO()
        self.tested: list[int] = []
        monkeypatch.setattr(loop_module, "pictures", lambda *_: {})
        monkeypatch.setattr(run_module, "final_test", self.final_test)

    def final_test(
        self, experiment: Any, folder: Any, tracker: Any, progress: Progress, *_: Any
    ) -> dict[str, Any]:
        self.tested.append(progress.step)
        return {"test": {"last": {}}, "best": {"val": progress.best_value}, "steps": progress.step}

    def train(self, config: TrainConfig, *values: float) -> str:
        """What it said, on one line."""
        self.monkeypatch.setattr(loop_module, "evaluate", Script(*values))
        self.out = io.StringIO()
        run_module.train(config, self.folder, Console(file=self.out, width=500))
        return self.out.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        return checkpoint.load(self.folder.last)
