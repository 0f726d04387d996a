"""The command line: verbs, one-line errors, exit codes. Imports neither torch nor Hydra."""

import importlib
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from dlrun.commands import VERBS
from dlrun.commands.ending import ended
from dlrun.commands.output import lasting_output
from dlrun.errors import UserError

_TRAINING = ("train", "resume", "tune")
_EPILOGUE = """\
Begin with:
  dlrun train                                learns clothes in about a minute, needs nothing
  dlrun train --help                         the groups, their options and every key
  dlrun train method=byol dataset=cifar10    groups are chosen like this
  dlrun train -m method=byol,vae seed=0,1    every combination, several at a time
  dlrun predict last cat.jpg                 what a trained run makes of an image
  tensorboard --logdir outputs               curves and pictures

Exit codes: 0 done, 1 the run failed, 2 the command or config is wrong, 129, 130 or 143
interrupted and saved."""


def usage() -> str:
    """What `dlrun --help` prints."""
    lines = [
        "dlrun: one line becomes a deep-learning experiment that can be trusted",
        "",
        "Commands:",
    ]
    lines += [f"  dlrun {verb:<12} {what}" for verb, what in VERBS.items()]
    return "\n".join([*lines, "", _EPILOGUE])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits with its code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    ended(lambda: run(given))


def run(arguments: Sequence[str]) -> int:
    """The exit code of one command."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        from dlrun import __version__

        print(f"dlrun {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        shown = verb if verb and verb.isprintable() else repr(verb)
        raise UserError(f"{shown}: no such command{_meant(arguments)}")
    command = importlib.import_module(f"dlrun.commands.{verb}")
    with lasting_output() if verb in _TRAINING else nullcontext():
        code: int = command.run(rest)
    return code


def _meant(arguments: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(arguments[0].lower(), VERBS, n=1)
    if near:
        return f". Did you mean {near[0]}?"
    if any("=" in argument for argument in arguments):
        return f". Did you mean dlrun {shlex.join(['train', *arguments])}?"
    return f"; there are {', '.join(VERBS)}"
