"""The command line: verbs, one-line errors, exit codes. Imports neither torch nor Hydra."""

import importlib
import os
import sys
from collections.abc import Sequence

from dlrun.commands import VERBS
from dlrun.errors import ConfigError, Interrupted, UserError

_EPILOGUE = """\
Begin with:
  dlrun train                                learns clothes in about a minute, needs nothing
  dlrun train --help                         the groups, their options and every key
  dlrun train method=byol dataset=cifar10    groups are chosen like this
  dlrun train -m method=byol,vae seed=0,1    every combination, one after the other
  tensorboard --logdir outputs               curves and pictures

Exit codes: 0 done, 1 the run failed, 2 the command or config is wrong, 130/143 interrupted (saved)."""


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
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = run(arguments)
        sys.stdout.flush()
    except ConfigError as error:
        count = len(error.problems)
        what = f"{count} things are" if count > 1 else "something is"
        _complain(f"{what} wrong with the configuration; nothing was started", error.problems)
        code = error.exit_code
    except UserError as error:
        _complain(str(error))
        code = error.exit_code
    except Interrupted as stopped:
        _complain(str(stopped))
        code = stopped.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        code = 130
    except BrokenPipeError:  # `dlrun ls | head` closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


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
        raise UserError(f"{verb}: no such command{_meant(verb)}")
    command = importlib.import_module(f"dlrun.commands.{verb}")
    code: int = command.run(rest)
    return code


def _meant(verb: str) -> str:
    import difflib

    if "=" in verb:
        return f". Did you mean dlrun train {verb}?"
    near = difflib.get_close_matches(verb, VERBS, n=1)
    return f". Did you mean {near[0]}?" if near else f"; there are {', '.join(VERBS)}"


def _complain(head: str, lines: Sequence[str] = ()) -> None:
    print(f"dlrun: {head}" + "".join(f"\n  {line}" for line in lines), file=sys.stderr)
