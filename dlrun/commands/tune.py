"""`dlrun tune`: a study whose trials are ordinary runs."""

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dlrun.commands.arguments import Parser
from dlrun.errors import Interrupted, UserError
from dlrun.runs.signals import termination_told

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from dlrun.commands.order import Order
    from dlrun.sweeps.plan import Job
    from dlrun.tuning.study import Study

_INTRODUCTION = """\
usage: dlrun tune key=VALUES [key=VALUES ...] [group=option ...] [key=value ...]

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
A pruned run keeps its checkpoint; `dlrun resume` goes on with it. A trial leaves out what only a
final report needs (method.likelihood_draws, method.baseline, method.controls), unless it is typed;
the best command, printed at the end, has it again.

Without a name= the folder is named by the command. The study's file lies in that folder: the same
command after any end goes on, and in two terminals, or on two machines that share the folder, works
on the same study."""


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
    with termination_told():
        return _tune(options.overrides, config_dir, options.config_dir)


def _tune(overrides: list[str], config_dir: str | None, typed_dir: str | None) -> int:
    from dlrun.commands.console import log_to, make_console
    from dlrun.commands.order import Order
    from dlrun.commands.outcome import tell
    from dlrun.config.compose import composer
    from dlrun.tuning.trials import counts

    console = make_console()
    log_to(console)
    with composer(config_dir) as ours:
        order = Order(ours, overrides)
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


def _work(order: "Order", study: "Study", jobs: "list[Job]", console: "Console") -> None:
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
        left_out, config = order.trial(overrides)
        with places(order.folder, order.memo) as placed:
            folder = placed(config)
        study.keep_run(trial.number, folder.name)
        label = order.space.label(trial.params)
        name = next((o.name for o in study.objectives if o.of_val), None)
        return Job(trial.number, [*overrides, *left_out], label, config, folder, name)

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
