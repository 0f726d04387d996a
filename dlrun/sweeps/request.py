"""What `dlrun tune` is asked for: its space, its objectives and its sections, all checked."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from optuna.trial import FrozenTrial

from dlrun.config.compose import REFUSALS, Composer, reason
from dlrun.config.schema import SweepConfig, TrainConfig, TuneConfig
from dlrun.config.signature import computes
from dlrun.config.typed import Typed
from dlrun.errors import ConfigError
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.sweeps.hydra import compose_job, compose_sweep, demand_processes, read_section
from dlrun.sweeps.objective import read_objectives
from dlrun.sweeps.plan import Job, job_folders, key_metric, read_references
from dlrun.sweeps.space import read_space
from dlrun.sweeps.study import Study
from dlrun.text import show

_NOT_PART = ("sweep.", "tune.trials=", "tune.timeout=")
_LAUNCHERS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")
_NOTHING = (
    "nothing to search: give a key several values, such as 'optimizer.lr=interval(1e-4,1e-2)' or "
    "model=mlp,cnn"
)
_NO_LAUNCHER = (
    "{}: trials are processes of this machine; to use another one, run the same command there, in "
    "the same shared folder"
)
_NEED_CURVES = ("median", "hyperband")


class Request:
    """A checked request for a study.

    Raises:
        ConfigError: everything that is wrong with it.
    """

    def __init__(self, composer: Composer, overrides: list[str]) -> None:
        self.composer, self.overrides = composer, overrides
        parsed, wrong = composer.parse(overrides, sweep=True, tune=True)
        self.space, more = read_space(parsed)
        if not (wrong or more or self.space.parameters):
            wrong.append(_NOTHING)
        wrong += [*more, *(_NO_LAUNCHER.format(o) for o in overrides if o.startswith(_LAUNCHERS))]
        typed = Typed(wrong)
        try:
            config = compose_sweep(overrides, _NOT_PART, "tune ")
        except REFUSALS as error:
            raise ConfigError([*wrong, reason(error)]) from None
        self.settings: TuneConfig = read_section(typed, TuneConfig, config, "tune")
        self.sweep: SweepConfig = read_section(typed, SweepConfig, config, "sweep")
        wrong = typed.problems
        self.folder = Path(config.hydra.sweep.dir)
        self.references = read_references(self.folder)
        self.examples: list[TrainConfig] = []
        self.skipped: dict[str, None] = {}
        for texts in self.space.examples():
            try:
                example, skipped = self._trial(texts)
                self.examples.append(example)
                self.skipped |= dict.fromkeys(skipped)
            except ConfigError as error:
                wrong += error.problems
        if not wrong:
            demand_processes(self.examples)
            metrics = {key_metric(config) for config in self.examples}
            self.objectives, wrong = read_objectives(self.settings.objective, metrics)
            wrong += self._contradictions()
        if wrong:
            raise ConfigError(list(dict.fromkeys(wrong)))

    def study(self) -> Study:
        """Opens it.

        Raises:
            UserError: the folder has another study.
        """
        not_part = ("sweep.", "tune.", "hydra")
        described = [
            text
            for text in self.overrides
            if computes(text.partition("=")[0]) and not text.startswith(not_part)
        ]
        described = sorted(described) + [str(objective) for objective in self.objectives]
        return Study(self.folder, self.space, self.objectives, self.settings, described)

    def job(self, trial: FrozenTrial, study: Study) -> Job:
        """The job of a trial; makes its folder.

        Raises:
            UserError: what is wrong with its config.
        """
        overrides = self.space.overrides(trial.params)
        config, skipped = self._trial(overrides)
        with job_folders(self.folder, self.references) as folder_of:
            folder = folder_of(config)
        study.record_run(trial.number, folder.name)
        label = self.space.label(trial.params)
        metric = next((o.name for o in study.objectives if o.of_val), None)
        return Job(trial.number, [*overrides, *skipped], label, config, folder, metric)

    def _trial(self, overrides: list[str]) -> tuple[TrainConfig, list[str]]:
        config = compose_job(self.composer, overrides, self.references)
        return skip_reporting(config, overrides)

    def _contradictions(self) -> list[str]:
        found = []
        one_curve = len(self.objectives) <= 1 and all(o.of_val for o in self.objectives)
        if not one_curve and self.settings.pruner in _NEED_CURVES:
            found.append(
                f"tune.pruner={self.settings.pruner}: a pruner needs one objective, a metric of "
                "val; expected auto or none"
            )
        if self.settings.sampler == "grid" and self.space.grid() is None:
            found.append(
                "tune.sampler=grid: an interval has no last point; expected choices and ranges"
            )
        return found


def skip_reporting(config: TrainConfig, overrides: Sequence[str]) -> tuple[TrainConfig, list[str]]:
    """`config` without what only serves a final report, and the overrides that would do the same.

    Args:
        config: of a trial.
        overrides: of the trial; what they give stays.
    """
    method = config.method
    off = {}
    for key in lookup("method", method.name).reporting_only:
        given = f"method.{key}=", "method={"
        value = getattr(method.options, key)
        if value and not any(text.lstrip("+").startswith(given) for text in overrides):
            off[key] = type(value)()
    options = replace(method.options, **off)
    texts = [f"method.{key}={show(value)}" for key, value in off.items()]
    return replace(config, method=Choice(method.name, options)), texts
