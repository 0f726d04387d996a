"""A job's process, forked from one that has imported torch and done nothing else.

Importing torch is most of what a sweep adds to a short job. The process that is forked from is
multiprocessing's fork server, started by the first job and ended with the sweep. It trains nothing,
so a job finds in it what it would have imported by itself and no trace of another job.
"""

import faulthandler
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from dlrun.runs.signals import ASKING

LOST = 255
"""What multiprocessing gives for a job's exit code where the process that it was forked from is no
more; a job may also exit with it by itself."""
_JOB = "dlrun.commands.job"
_PRELOADED = "dlrun.commands.preload"
_AT_IMPORT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What libraries read once, when they are loaded."""
_loaded_with: list[str | None] = []


def can_fork(environment: dict[str, str]) -> bool:
    """Whether a job with this environment would be the same as one that starts from nothing.

    Not with a GPU, whose context does not survive a fork; not where Apple's libraries do not; not
    with other threads than the first one had.
    """
    own = [environment.get(name) for name in _AT_IMPORT]
    return sys.platform == "linux" and _loaded_with in ([], own)


class Forked:
    """What `python -m dlrun.commands.job` would be; of subprocess.Popen what a sweep needs.

    Args:
        output: the file for all that it prints.
        environment: all of its variables.
    """

    def __init__(self, output: Path, environment: dict[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([_PRELOADED])
        _loaded_with[:] = [environment.get(name) for name in _AT_IMPORT]
        order, own_end = os.pipe()
        self.stdin = os.fdopen(own_end, "wb")
        with Connection(order, writable=False) as connection, _server_has(environment):
            self._process = context.Process(
                target=_become_job, args=(str(output), environment, connection)
            )
            self._process.start()

    def poll(self) -> int | None:
        """The exit code, -number for a signal, `LOST`, or None while it runs."""
        return self._process.exitcode

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()


@contextmanager
def _server_has(environment: dict[str, str]) -> Iterator[None]:
    """The process to fork from inherits ours, and is started where it does not run yet."""
    ours = dict(os.environ)
    # As for the console script, a random.py in the user's folder is not taken for Python's own.
    os.environ.update(environment, PYTHONSAFEPATH="1")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(ours)


def _become_job(output: str, environment: dict[str, str], order: Connection) -> None:
    """In the new process, from here on as one that starts from nothing."""
    os.setsid()  # a terminal's Ctrl-C is for the sweep, which asks its jobs
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for source, target in ((file, 1), (file, 2), (order.fileno(), 0)):
        os.dup2(source, target)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    faulthandler.enable()
    np.random.seed()  # numpy alone would draw the same in every job
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)
    import_module(_JOB).main()
