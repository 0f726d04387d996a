"""The command line: verbs, one-line errors, exit codes. Imports neither torch nor Hydra."""

import importlib
import os
import shlex
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
  dlrun predict last cat.jpg                 what a trained run makes of an image
  tensorboard --logdir outputs               curves and pictures

Exit codes: 0 done, 1 the run failed, 2 the command or config is wrong, 130 or 143 interrupted and
saved."""


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
        head = f"{count} things are wrong with the configuration; nothing was started"
        _complain(*error.problems if count == 1 else (head, *error.problems))
        code = error.exit_code
    except UserError as error:
        _complain(*str(error).splitlines())
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
    except Exception as error:
        told = _told(error)
        if told is None:  # a bug of dlrun's own
            raise
        _complain(told)
        code = 1
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
        shown = verb if verb and verb.isprintable() else repr(verb)
        raise UserError(f"{shown}: no such command{_meant(arguments)}")
    command = importlib.import_module(f"dlrun.commands.{verb}")
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


def _told(error: Exception) -> str | None:
    """One line for what is no bug of dlrun: an error in the user's own code, or of the machine."""
    from dlrun.registry import one_line, own_line

    line = own_line(error)
    if line is not None:
        return f"{line}: {one_line(error)} (the run's log.txt has the whole traceback)"
    return str(error) if isinstance(error, OSError) and error.errno is not None else None


def _complain(head: str, *lines: str) -> None:
    """On stderr, each in one line whatever was typed."""
    rows = [f"dlrun: {head}", *(f"  {line}" for line in lines)]
    print("\n".join(" ".join(row.splitlines()) for row in rows), file=sys.stderr)
