"""The command line: verbs, one-line errors, exit codes. Imports neither torch nor Hydra."""

import importlib
import sys
from collections.abc import Sequence

from dlrun.commands.parsers import VERBS, summary_of
from dlrun.errors import UserError
from dlrun.exit import run_and_exit
from dlrun.text import echo, suggest

# Of other tools, which are spelt too differently to be guessed.
_OTHER_VERBS = {
    "run": "train", "fit": "train", "test": "evaluate", "val": "evaluate", "validate": "evaluate",
    "list": "ls", "delete": "rm", "infer": "predict", "generate": "sample", "sweep": "tune",
}  # fmt: skip
_TRAINING = (["train"], ["resume"], ["tune"])
_EPILOGUE = """\
Start with:
  dlrun train                                train a model of clothes in a minute, no download
  dlrun train --help                         list all groups, options and keys
  dlrun train method=byol dataset=cifar10    choose options of groups
  dlrun train -m method=byol,vae seed=0,1    train every combination, several at a time
  dlrun predict last cat.jpg                 classify an image with a trained run
  tensorboard --logdir outputs               show curves and pictures

Exit codes: 0 done; 1 the run failed; 2 the command or config is wrong; 129, 130 or 143
interrupted, with a checkpoint."""


def usage() -> str:
    """What `dlrun --help` prints."""
    lines = [
        "dlrun: one line becomes a deep-learning experiment that can be trusted",
        "",
        "Commands:",
    ]
    lines += [f"  dlrun {verb:<12} {summary_of(verb)}" for verb in VERBS]
    return "\n".join([*lines, "", _EPILOGUE])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    run_and_exit(lambda: run(given), keeps_on=given[:1] in _TRAINING)


def run(arguments: Sequence[str]) -> int:
    """The exit code of one command."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        from dlrun import __version__

        print(f"dlrun {__version__}")
        return 0
    # A script with Windows line ends gives its last argument a carriage return.
    verb, *rest = (argument.removesuffix("\r") for argument in arguments)
    if any(argument == "\r" for argument in arguments):
        raise UserError(
            "an argument is a carriage return alone: save the script with Unix line ends"
        )
    if verb not in VERBS:
        raise UserError(f"{echo(verb)}: no such command{_suggestion(arguments)}")
    command = importlib.import_module(f"dlrun.commands.{verb}")
    code: int = command.run(rest)
    return code


def _suggestion(arguments: Sequence[str]) -> str:
    import shlex

    verb, *rest = arguments
    if verb in _OTHER_VERBS:
        return f". Did you mean dlrun {echo(shlex.join([_OTHER_VERBS[verb], *rest]), 200)}?"
    if "=" in verb or (verb.startswith("-") and any("=" in argument for argument in rest)):
        return f". Did you mean dlrun {echo(shlex.join(['train', *arguments]), 200)}?"
    return suggest(verb.lower(), VERBS)
