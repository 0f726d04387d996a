"""Errors that a user sees as one line instead of a traceback, with their exit codes."""

from typing import Any


class UserError(Exception):
    """A mistake that the user can fix: printed without a traceback, exit code 2."""

    exit_code = 2


class ConfigError(UserError):
    """Everything that is wrong with a configuration, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RunFailed(UserError):
    """The run itself went wrong (not finite, out of memory): exit code 1."""

    exit_code = 1


class CodeError(RunFailed):
    """A class or function that dlrun called gave it what it cannot use.

    `registry.told` puts the file and line of the user's own code in front.

    Args:
        text: what was given, and what is expected.
        code: the class or function, where it has returned before the mistake is noticed.
    """

    def __init__(self, text: str, code: Any = None) -> None:
        self.code = code
        super().__init__(text)


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived, the step was finished and the checkpoint saved.

    Not an `Exception`, so that a sweep stops too instead of going on with its next job.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(message)
