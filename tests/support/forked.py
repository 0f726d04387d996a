"""`python -m dlrun ARGUMENTS` in a process of its own, forked from one that has imported torch.

It starts in a tenth of the time that a fresh interpreter needs; what it does is the same: its own
memory, working folder, environment, streams, signals, exit code.
"""

import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TextIO

import numpy as np

IMPORTED = (
    "torch._dynamo", "torch.utils.tensorboard", "hydra", "dlrun.commands.train",
    "dlrun.config.compose", "dlrun.training.prerequisites", "dlrun.sweeps.hydra",
    "dlrun.views.summary", "dlrun.use.load",
)  # fmt: skip


class Forked:
    """A process with the interface of subprocess.Popen, as far as tests use it.

    Args:
        arguments: of dlrun.
        cwd: its working folder.
        env: its environment variables.
        stdout: file descriptor of its standard output; None for a pipe.
        stderr: of its standard error; None for the same as `stdout`.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        cwd: Path,
        env: dict[str, str],
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self.args = arguments
        self.returncode: int | None = None
        self.stdout: TextIO | None = None
        if stdout is None:
            reads, stdout = os.pipe()
            self.stdout = os.fdopen(reads)
        self._status, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        request = json.dumps([arguments, str(cwd), env]).encode()
        given = [stdout, stdout if stderr is None else stderr, theirs.fileno()]
        socket.send_fds(_server(), [request], given)
        theirs.close()
        if self.stdout is not None:
            os.close(stdout)
        self.pid = int(self._status.recv(100))

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises TimeoutExpired."""
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            self.returncode = int(self._status.recv(100))
            self._status.close()
        return self.returncode

    def communicate(self, timeout: float = 120) -> tuple[str, None]:
        """The rest of its output, once it has ended. Raises TimeoutExpired."""
        assert self.stdout is not None
        stdout, found = self.stdout, list[str]()
        reader = threading.Thread(target=lambda: found.append(stdout.read()), daemon=True)
        reader.start()
        reader.join(timeout)
        if not found:
            raise subprocess.TimeoutExpired(self.args, timeout)
        self.wait(timeout)
        return found[0], None

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)


@cache
def _server() -> socket.socket:
    """The connection to this process's server, which ends with it."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import forked; "
    subprocess.Popen(
        [sys.executable, "-P", "-c", f"{code}forked.serve({theirs.fileno()})"],
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    theirs.close()
    return ours


def serve(control: int) -> None:
    """Forks a process for each request, and says its process id and how it ended."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    connection = socket.socket(fileno=control)
    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(woken)
    running: dict[int, socket.socket] = {}
    while True:
        ready = select.select([connection, wakes], [], [])[0]
        if wakes in ready:
            os.read(wakes, 1000)
            for pid in list(running):
                if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    with suppress(OSError), running.pop(pid) as status:
                        status.send(str(code).encode())
        if connection in ready:
            request, descriptors, _, _ = socket.recv_fds(connection, 2**20, 3)
            if not request:
                return
            output, error, status_fd = descriptors
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for opened in (connection, *running.values()):
                    opened.close()
                _become(*json.loads(request), output, error)
                return
            running[pid] = socket.socket(fileno=status_fd)
            running[pid].send(str(pid).encode())
            for descriptor in {output, error}:
                os.close(descriptor)


def _become(arguments: list[str], cwd: str, env: dict[str, str], output: int, error: int) -> None:
    """What `python -m dlrun ARGUMENTS` does, in this process."""
    os.dup2(output, 1)
    os.dup2(error, 2)
    os.close(output)
    os.close(error)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # as a new interpreter does
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = cwd
    sys.argv = ["dlrun", *arguments]
    random.seed()
    np.random.seed()
    runpy.run_module("dlrun", run_name="__main__", alter_sys=True)
