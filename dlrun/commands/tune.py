"""`dlrun tune`: a study whose trials are ordinary runs."""

import os
from importlib.util import find_spec
from pathlib import Path

from dlrun.commands.parsers import parse
from dlrun.errors import UserError
from dlrun.runs.signals import termination_raises

_INTRODUCTION = """\
usage: dlrun tune key=VALUES [key=VALUES ...] [group=option ...] [key=value ...]

Searches for the values with which a run does best on the val split. Each trial is an ordinary run
below outputs/sweeps/, in a process of its own; Optuna draws the values (pip install 'dlrun[tune]').

  dlrun tune method=vae 'optimizer.lr=interval(1e-4,1e-2)' 'method.beta=choice(.5,1,4)'
  dlrun tune method=supervised model=resnet8,resnet20 'optimizer.lr=interval(.01,1)' epochs=10
  dlrun tune ... tune.trials=100 name=wide      run it again to continue: 100 trials in total
  dlrun tune ... tune.pruner=hyperband          tune.pruner=none completes every trial
  dlrun tune ... 'tune.objective=[accuracy,seconds]'   several objectives: prints the Pareto front
  dlrun ls wide; dlrun compare wide; dlrun plot wide; dlrun report wide

Values, in Hydra's syntax (quote what has brackets):
  a,b,c  choice(a,b,c)  glob(res*)   one of them, also of a group: model=mlp,cnn
  range(1,5)  range(0,1,.1)          numbers in order, without the last
  interval(1e-4,1e-2)                any number in between; on a log scale if both bounds are > 0
                                     and a factor of 10 or more apart
  tag(log,interval(a,b))             on a log scale; tag(linear,interval(a,b)) evenly
  int(interval(8,64))                integers, both bounds included

The pruner sees each evaluation on val, so eval_every= sets how early a trial can be stopped. A
pruned run keeps its checkpoint; `dlrun resume` continues it. A trial skips what only a final report
needs, such as method.likelihood_draws, unless you give it; the best command, printed at the end,
has it again.

Without name=, the folder is named by the command. The study's journal is in that folder: the same
command continues the study, and in two terminals, or on two machines that share the folder, both
work on it."""


def run(arguments: list[str]) -> int:
    """Runs trials until there are as many as were asked for.

    Returns:
        1 where one failed or was interrupted, or none is completed.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    options = parse("tune", arguments)
    if options.help:
        from dlrun.config.help import section_help

        print("\n".join([_INTRODUCTION, "", "Keys:", *section_help(("tune", "sweep"))]))
        print("\nAll groups and keys: dlrun train --help")
        return 0
    if find_spec("optuna") is None:
        raise UserError("dlrun tune needs Optuna: pip install 'dlrun[tune]'")

    if options.config_dir and not Path(options.config_dir).is_dir():
        raise UserError(f"--config-dir: {options.config_dir} is not a folder")

    from dlrun.console import Console, log_to
    from dlrun.sweeps.tune import tune

    console = Console()
    log_to(console)
    with termination_raises():
        return tune(options.overrides, options.config_dir, console)
