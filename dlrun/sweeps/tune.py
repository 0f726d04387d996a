"""`dlrun tune`: checks what is asked for, and works on the study until it has all its trials."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from optuna.trial import FrozenTrial

from dlrun.config.compose import REFUSALS, Composer, composer, reason, user_config_dir
from dlrun.config.schema import SweepConfig, TrainConfig, TuneConfig
from dlrun.config.signature import computes
from dlrun.config.typed import Typed
from dlrun.console import Console
from dlrun.errors import ConfigError, Interrupted, UserError
from dlrun.methods.base import Method
from dlrun.options import Choice, Metric
from dlrun.registry import lookup
from dlrun.runs.run import Run
from dlrun.sweeps.hydra import compose_job, compose_sweep, read_section
from dlrun.sweeps.objective import read_objectives
from dlrun.sweeps.outcome import report_study
from dlrun.sweeps.plan import Job, divide, job_folders, read_references
from dlrun.sweeps.process import Starter
from dlrun.sweeps.space import read_space
from dlrun.sweeps.study import Study
from dlrun.sweeps.trials import StudyView, Trials, counts
from dlrun.sweeps.view import listed, on_one_data
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
_NO_CURVE = "tune.pruner={}: a pruner needs one objective, a metric of val; expected auto or none"
_NO_GRID = "tune.sampler=grid: an interval has no last point; expected choices and ranges"


def tune(overrides: list[str], config_dir: str | None, console: Console) -> int:
    """Runs the trials that are missing and reports on the study.

    Returns:
        1 where a trial of the study failed or was interrupted, or none is completed.

    Raises:
        ConfigError: everything that is wrong with the overrides.
        Interrupted: stopped on request, the trials that ran with a checkpoint.
    """
    with composer(user_config_dir(config_dir)) as own:
        request = Request(own, overrides)
        study = request.study()
        jobs: list[Job] = []
        try:
            _run_trials(request, study, jobs, console)
        finally:
            if study.trials():
                report_study(study, jobs, console, config_dir)
        states = counts(study, jobs)
        runs = {t.number: Run(study.folder / t.user_attrs["run"]) for t in study.complete()}
        comparable = on_one_data(runs, "trial", "name=NAME begins another study", console)
    failed = states["failed"] + states["interrupted"]
    return 0 if states["completed"] and comparable and not failed else 1


def _run_trials(request: "Request", study: Study, jobs: list[Job], console: Console) -> None:
    began = time.time()
    settings = request.settings
    timeout = settings.timeout.seconds if settings.timeout else None
    until = float("inf") if timeout is None else began + timeout
    if request.sweep.retry == "failed":
        study.try_again()
    slots = divide(request.sweep, request.examples[:1] * study.total)
    with StudyView(console, study, jobs, slots.jobs) as view:
        for parameter in study.space.parameters:
            view.say(str(parameter))
        objectives = " and ".join(map(str, study.objectives))
        view.say(f"objective {objectives}; sampler {settings.sampler}, pruner {study.pruner}")
        if request.skipped:
            view.say(f"trials skip what only a report needs: {' '.join(request.skipped)}")
        view.say(f"study {study.folder}: {listed(view.counts())}; {slots.line}")
        trials = Trials(
            study, lambda trial: request.job(trial, study), until, jobs=jobs, slots=slots,
            settings=request.sweep, view=view, began=began, start=Starter(),
        )  # fmt: skip
        trials.run()
    resume = "run the same command again to resume it"
    if trials.signal is not None:
        raise Interrupted(trials.signal, f"study stopped ({listed(view.counts())}); {resume}")
    if time.time() >= until and len(study.trials()) < study.total:
        console.say(f"tune.timeout={settings.timeout} has passed; {resume}")


class Request:
    """A checked request for a study. Raises ConfigError with everything that is wrong with it."""

    def __init__(self, composer: Composer, overrides: list[str]) -> None:
        parsed, wrong = composer.parse(overrides, sweep=True, tune=True)
        overrides = [o.input_line or "" for o in parsed]
        self.composer, self.overrides = composer, overrides
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
            except UserError as error:
                wrong += str(error).splitlines()
        if not wrong:
            keys: set[str | None] = set()
            own: dict[str, Metric] = {}
            for example in self.examples:
                method: type[Method] = lookup("method", example.method.name)
                keys.add(method.key_metric_for(example.method.options))
                own |= method.metrics
            self.objectives, wrong = read_objectives(self.settings.objective, keys, own)
            one_curve = len(self.objectives) <= 1 and all(o.of_val for o in self.objectives)
            if not one_curve and self.settings.pruner in ("median", "hyperband"):
                wrong.append(_NO_CURVE.format(self.settings.pruner))
            if self.settings.sampler == "grid" and self.space.grid() is None:
                wrong.append(_NO_GRID)
        if wrong:
            raise ConfigError(list(dict.fromkeys(wrong)))

    def study(self) -> Study:
        """Opens it. Raises UserError where the folder has another study."""
        not_part = ("sweep.", "tune.", "hydra")
        described = sorted(
            text
            for text in self.overrides
            if computes(text.partition("=")[0]) and not text.startswith(not_part)
        )
        described += [str(objective) for objective in self.objectives]
        return Study(self.folder, self.space, self.objectives, self.settings, described)

    def job(self, trial: FrozenTrial, study: Study) -> Job:
        """The job of a trial; makes its folder. Raises UserError where its config is wrong."""
        overrides = self.space.overrides(trial.params)
        config, skipped = self._trial(overrides)
        with job_folders(self.folder, self.references) as folder_of:
            folder = folder_of(config)
        study.record_run(trial.number, folder.name)
        label = self.space.label(trial.params)
        metric = next((o.name for o in study.objectives if o.of_val), None)
        return Job(trial.number, [*overrides, *skipped], label, config, folder, metric)

    def _trial(self, overrides: list[str]) -> tuple[TrainConfig, list[str]]:
        return skip_reporting(compose_job(self.composer, overrides, self.references), overrides)


def skip_reporting(config: TrainConfig, overrides: Sequence[str]) -> tuple[TrainConfig, list[str]]:
    """A trial's config without what only a final report needs, and the overrides that do the same.

    What its `overrides` give stays.
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
