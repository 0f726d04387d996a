"""What `dlrun tune` was asked for: its space, its objectives and its sections, all checked."""

from pathlib import Path

from omegaconf import DictConfig

from dlrun.commands.sweep import composed, demand_processes, section
from dlrun.config.compose import REFUSALS, Composer, reason
from dlrun.config.schema import SweepConfig, TrainConfig, TuneConfig
from dlrun.config.signature import computes
from dlrun.config.typed import Typed
from dlrun.errors import ConfigError
from dlrun.sweeps.launcher import job_config
from dlrun.sweeps.plan import key_metric, meanings
from dlrun.tuning.objective import Objective, read_objectives
from dlrun.tuning.space import read_space
from dlrun.tuning.spared import spared
from dlrun.tuning.study import Study

_ASIDE = ("sweep.", "tune.trials=", "tune.timeout=")
_ELSEWHERE = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")
_PLACES = (
    "{}: trials are processes of this machine; the same command on another one that shares the "
    "folder helps with the study"
)
_CURVES = ("median", "hyperband")


class Order:
    """What was asked for, checked: nothing of it is wrong.

    Raises:
        ConfigError: everything that is.
    """

    def __init__(self, composer: Composer, overrides: list[str]) -> None:
        self.composer, self.overrides = composer, overrides
        _, told = composer.parse(overrides, sweep=True, tune=True)
        self.space, wrong = read_space(overrides, composer.loader)
        told += [*wrong, *(_PLACES.format(o) for o in overrides if o.startswith(_ELSEWHERE))]
        typed = Typed()
        try:
            self.config: DictConfig = composed(overrides, _ASIDE, "tune ")
        except REFUSALS as error:
            raise ConfigError([*told, reason(error)]) from None
        self.asked: TuneConfig = section(typed, TuneConfig, self.config, "tune")
        self.sweep: SweepConfig = section(typed, SweepConfig, self.config, "sweep")
        told += typed.problems
        self.folder = Path(self.config.hydra.sweep.dir)
        self.memo = meanings(self.folder)
        self.examples: list[TrainConfig] = []
        self.left_out: list[str] = []
        for one in self.space.examples():
            try:
                left_out, config = self.trial(one)
            except ConfigError as error:
                told += error.problems
                continue
            self.examples.append(config)
            self.left_out += [text for text in left_out if text not in self.left_out]
        if not told:
            demand_processes(self.examples)
            self.objectives, told = self._objectives()
        if told:
            raise ConfigError(list(dict.fromkeys(told)))

    def trial(self, overrides: list[str]) -> tuple[list[str], TrainConfig]:
        """What else a trial is given, so that it leaves out what no study reads, and its config.

        Raises:
            ConfigError: what is wrong with it.
        """
        config = job_config(self.composer, overrides, self.memo)
        left_out = spared(config, overrides)
        if left_out:
            config = job_config(self.composer, [*overrides, *left_out], self.memo)
        return left_out, config

    def study(self) -> Study:
        """Opens it. Raises UserError where the folder has another one."""
        aside = ("sweep.", "tune.", "hydra")
        described = [
            text
            for text in self.overrides
            if computes(text.partition("=")[0]) and not text.startswith(aside)
        ]
        looked_for = [f"{objective}" for objective in self.objectives]
        return Study(
            self.folder, self.space, self.objectives, self.asked, sorted(described) + looked_for
        )

    def _objectives(self) -> tuple[list[Objective], list[str]]:
        metrics = {key_metric(config) for config in self.examples}
        found, wrong = read_objectives(self.asked.objective, metrics)
        several = len(found) > 1
        if (several or not all(o.of_val for o in found)) and self.asked.pruner in _CURVES:
            wrong.append(
                f"tune.pruner={self.asked.pruner}: one metric of val can be followed by a pruner; "
                "expected auto or none"
            )
        if self.asked.sampler == "grid" and self.space.size is None:
            wrong.append(
                "tune.sampler=grid: an interval has no end of points; expected choices and ranges"
            )
        return found, wrong
