"""`dlrun tune`: a study whose trials are ordinary runs."""

import os
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.commands.arguments import Parser
from dlrun.errors import ConfigError, Interrupted, UserError

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from dlrun.config.schema import TrainConfig
    from dlrun.sweeps.plan import Job
    from dlrun.tuning.objective import Objective
    from dlrun.tuning.study import Study

_INTRODUCTION = """\
dlrun tune key=VALUES [key=VALUES ...] [group=option ...] [key=value ...]

Searches for the values with which a run does best on the val split. Each trial is an ordinary run
below outputs/sweeps/, in a process of its own; Optuna draws the values (pip install 'dlrun[tune]').

  dlrun tune method=vae 'optimizer.lr=interval(1e-4,1e-2)' 'method.beta=choice(.5,1,4)'
  dlrun tune method=supervised model=resnet8,resnet20 'optimizer.lr=interval(.01,1)' epochs=10
  dlrun tune ... tune.trials=100 name=wide      the same command again goes on: 100 trials in all
  dlrun tune ... tune.pruner=hyperband          tune.pruner=none lets every trial come to its end
  dlrun tune ... 'tune.objective=[accuracy,seconds]'   several: the front is listed
  dlrun ls wide; dlrun compare wide; dlrun plot wide; dlrun report wide

Values, in Hydra's syntax (quote what has brackets):
  a,b,c  choice(a,b,c)  glob(res*)   one of them, of a group too: model=mlp,cnn
  range(1,5)  range(0,1,.1)          numbers in order, without the last
  interval(1e-4,1e-2)                any number in between. Where both bounds are > 0 and a factor
                                     of 10 or more apart it is drawn on a log scale, which is said
  tag(log,interval(a,b))             on a log scale; tag(linear,interval(a,b)) evenly
  int(interval(8,64))                integers, both bounds included

Each evaluation on val is told to the pruner, so eval_every= says how early a trial can be stopped.
A pruned run keeps its checkpoint; `dlrun resume` goes on with it. Without a name= the folder is
named by the command. The study's file lies in that folder: the same command after any end goes on,
and in two terminals, or on two machines that share the folder, works on the same study."""
_ASIDE = ("sweep.", "tune.trials=", "tune.timeout=")
_ELSEWHERE = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper")
_PLACES = (
    "{}: trials are processes of this machine; the same command on another one that shares the "
    "folder helps with the study"
)
_CURVES = ("median", "hyperband")
_ONE_PROCESS = (
    "hardware.devices: got {}, but a trial of a study is one process; leave it out here, and give "
    "it to the best command"
)


def run(arguments: list[str]) -> int:
    """Runs trials until there are as many as were asked for.

    Returns:
        1 where one failed or was cut off, or none is complete.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    parser = Parser(prog="dlrun tune", add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-cd", "--config-dir")
    options = parser.parse_intermixed_args(arguments)
    if options.help:
        from dlrun.config.help import section_help

        print("\n".join([_INTRODUCTION, "", "Keys:", *section_help(("tune", "sweep"))]))
        print("\nAll groups and keys: dlrun train --help")
        return 0
    if find_spec("optuna") is None:
        raise UserError("dlrun tune needs Optuna: pip install 'dlrun[tune]'")

    from dlrun.config.compose import user_config_dir

    config_dir: str | None = options.config_dir or user_config_dir()
    if config_dir and not Path(config_dir).is_dir():
        raise UserError(f"--config-dir: {config_dir} is no folder")
    return _tune(options.overrides, config_dir, options.config_dir)


def _tune(overrides: list[str], config_dir: str | None, typed_dir: str | None) -> int:
    from dlrun.commands.console import log_to, make_console
    from dlrun.commands.outcome import tell
    from dlrun.config.compose import config_source
    from dlrun.tuning.trials import counts

    console = make_console()
    log_to(console)
    with config_source(config_dir) as loader:
        order = _Order(loader, overrides)
        study = order.study()
        jobs: list[Job] = []
        try:
            _work(order, study, jobs, console)
        finally:
            if study.trials():
                tell(study, jobs, console, typed_dir)
        ended = counts(study, jobs)
    in_order = ended["completed"] and not ended["failed"] and not ended["interrupted"]
    return 0 if in_order else 1


def _devices(config: "TrainConfig") -> int:
    return 1 if config.hardware.devices == "auto" else config.hardware.devices


class _Order:
    """What was asked for, checked: nothing of it is wrong.

    Raises:
        ConfigError: everything that is.
    """

    def __init__(self, loader: "ConfigLoader", overrides: list[str]) -> None:
        from hydra import compose

        from dlrun.commands.sweep import composed, section
        from dlrun.config.compose import PRIMARY, REFUSALS, explain
        from dlrun.config.explain import problems
        from dlrun.config.schema import SweepConfig, TuneConfig
        from dlrun.config.typed import Typed
        from dlrun.tuning.space import read_space

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
            self.objectives, wrong = self._objectives()
            told += wrong
            told += [_ONE_PROCESS.format(n) for n in map(_devices, self.examples) if n > 1]
        if told:
            raise ConfigError(list(dict.fromkeys(told)))
        self.folder = Path(self.config.hydra.sweep.dir)

    def trial(self, overrides: list[str], number: int) -> "tuple[list[str], TrainConfig]":
        """What else a trial is given, so that it leaves out what no study reads, and its config.

        Raises:
            ConfigError: what is wrong with it.
        """
        from dlrun.config.check import check
        from dlrun.sweeps.launcher import job_config
        from dlrun.tuning.spared import spared

        def checked(texts: list[str]) -> "TrainConfig":
            return check(job_config(self.loader, self.config, texts, number))

        config = checked(overrides)
        left_out = spared(config, overrides)
        return left_out, checked([*overrides, *left_out]) if left_out else config

    def _objectives(self) -> "tuple[list[Objective], list[str]]":
        from dlrun.sweeps.plan import key_metric
        from dlrun.tuning.objective import read_objectives

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

    def study(self) -> "Study":
        """Opens it. Raises UserError where the folder has another one."""
        from dlrun.config.signature import computes
        from dlrun.tuning.study import Study

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


def _work(order: _Order, study: "Study", jobs: "list[Job]", console: "Console") -> None:
    """Raises Interrupted once all that ran has stopped."""
    from dlrun.sweeps.plan import Job, places
    from dlrun.sweeps.shares import share
    from dlrun.sweeps.view import listed
    from dlrun.tuning.trials import StudyView, Trials

    began = time.time()
    timeout = order.asked.timeout.seconds if order.asked.timeout else None
    until = float("inf") if timeout is None else began + timeout
    if order.sweep.retry == "failed":
        study.try_again()
    shares = share(order.sweep, order.examples[:1] * study.total)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False)

    def place(trial: "FrozenTrial") -> Job:
        overrides = order.space.overrides(trial.params)
        left_out, config = order.trial(overrides, trial.number)
        with places(order.folder) as placed:
            typed, folder = placed(config)
        study.keep_run(trial.number, folder.name)
        label = order.space.label(trial.params)
        name = next((o.name for o in study.objectives if o.of_val), None)
        return Job(trial.number, [*overrides, *left_out], label, typed, folder, name)

    for parameter in order.space.parameters:
        say(parameter.line())
    say(
        f"best is {' and '.join(map(str, study.objectives))}; sampler {order.asked.sampler}, "
        f"pruner {study.pruner}"
    )
    if order.left_out:
        say(f"trials leave out what only a report needs: {' '.join(order.left_out)}")
    with StudyView(console, study, jobs, shares.jobs) as view:
        say(f"study {order.folder}: {listed(view.counts())}; {shares.line}")
        trials = Trials(study, jobs, place, shares, order.sweep, view, began, until)
        trials.run()
    if trials.signal is not None:
        raise Interrupted(
            trials.signal, f"study stopped ({listed(view.counts())}); the same command goes on"
        )
    if time.time() >= until and len(study.trials()) < study.total:
        say(f"tune.timeout={order.asked.timeout} is over; the same command goes on")
