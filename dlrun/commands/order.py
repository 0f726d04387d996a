"""What `dlrun tune` was asked for: its space, its objectives and its sections, all checked."""

from contextlib import suppress
from pathlib import Path

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from dlrun.commands.sweep import composed, demand_processes, section
from dlrun.config.check import check
from dlrun.config.compose import PRIMARY, REFUSALS, explain
from dlrun.config.explain import problems
from dlrun.config.schema import SweepConfig, TrainConfig, TuneConfig
from dlrun.config.signature import computes
from dlrun.config.typed import Typed
from dlrun.errors import ConfigError
from dlrun.sweeps.launcher import job_config
from dlrun.sweeps.plan import key_metric
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

    def __init__(self, loader: ConfigLoader, overrides: list[str]) -> None:
        self.loader, self.overrides = loader, overrides
        told = problems(loader, overrides, sweep=True, tune=True)
        self.space, wrong = read_space(overrides, loader)
        told += [*wrong, *(_PLACES.format(o) for o in overrides if o.startswith(_ELSEWHERE))]
        typed = Typed()
        with suppress(*REFUSALS):  # an unknown key, which is told already
            own = compose(PRIMARY, [o for o in overrides if o.startswith(("tune.", "sweep."))])
            self.asked: TuneConfig = section(typed, TuneConfig, own, "tune")
            self.sweep: SweepConfig = section(typed, SweepConfig, own, "sweep")
        told += typed.problems
        if not told:
            try:
                self.config: DictConfig = composed(overrides, _ASIDE, "tune ")
            except REFUSALS as error:
                raise ConfigError(explain(loader, overrides, error)) from None
            examples = [self.trial(one, 0) for one in self.space.examples()]
            self.examples = [config for _, config in examples]
            self.left_out = list(dict.fromkeys(text for texts, _ in examples for text in texts))
            demand_processes(self.examples)
            self.objectives, wrong = self._objectives()
            told += wrong
        if told:
            raise ConfigError(list(dict.fromkeys(told)))
        self.folder = Path(self.config.hydra.sweep.dir)

    def trial(self, overrides: list[str], number: int) -> tuple[list[str], TrainConfig]:
        """What else a trial is given, so that it leaves out what no study reads, and its config.

        Raises:
            ConfigError: what is wrong with it.
        """

        def checked(texts: list[str]) -> TrainConfig:
            return check(job_config(self.loader, self.config, texts, number))

        config = checked(overrides)
        left_out = spared(config, overrides)
        return left_out, checked([*overrides, *left_out]) if left_out else config

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
