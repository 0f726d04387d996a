"""How a process of dlrun ends: one line about what went wrong, and the exit code."""

import sys
from collections.abc import Callable
from typing import NoReturn

from dlrun.commands.output import discard, lasting_output
from dlrun.errors import ConfigError, Interrupted, UserError


def ended(command: Callable[[], int]) -> NoReturn:
    """Runs `command` and exits with its code; what went wrong is told in one line."""
    try:
        code = command()
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
        discard(sys.stdout)
        code = 0
    except Exception as error:
        told = _told(error)
        if told is None:  # a bug of dlrun's own
            raise
        _complain(told)
        code = 1
    sys.exit(code)


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
    with lasting_output():
        print("\n".join(" ".join(row.splitlines()) for row in rows), file=sys.stderr, flush=True)
