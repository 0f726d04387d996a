"""Errors that a user sees as one line instead of a traceback, with their exit codes."""


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


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived, the step was finished and the checkpoint saved.

    Not an `Exception`, so that a sweep stops too instead of going on with its next job.
    """

    def __init__(self, signal_number: int, message: str) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(message)
