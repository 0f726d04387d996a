"""One job of a sweep, in its own process.

A sweep starts `python -m dlrun.sweeps.worker` and writes the job's specification to its standard
input as one line of JSON, or has the fork server call `run_forked`. Either way a pipe from the
sweep stays open: a job that reads its end has lost its sweep, saves and stops. A job of several
processes starts them, each this same module, with the specification in the environment.
"""

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any, NoReturn, TypedDict

from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.exit import run_and_exit
from dlrun.files import read_json, write_json
from dlrun.registry import one_line, told
from dlrun.runs.folder import RunFolder
from dlrun.runs.status import Log, note_end, read_status

# -P: as for the console script, a random.py in the user's folder does not hide Python's own.
MODULE = ("-P", "-X", "faulthandler", "-m", "dlrun.sweeps.worker")
"""Arguments of Python for a job, or for one of the processes that train a job together."""
_SPEC = "DLRUN_JOB"
"""The environment variable with the specification, for one of several processes."""


class Spec(TypedDict):
    """All that a job's process has to know."""

    folder: str
    config: dict[str, Any]
    """Settled and plain."""
    overrides: list[str]
    devices: int
    """Processes that train it together."""
    began: float
    """When the sweep began, in seconds since 1970."""
    threads: int
    """CPU threads of each process; sums depend on them, so job.json keeps their number."""
    token: str
    """Put into job.json by the process that takes the folder: the sweep knows by it whose it is."""


def main() -> None:
    """Trains the job on standard input; the exit codes are those of dlrun."""
    if text := os.environ.pop(_SPEC, ""):
        _run(json.loads(text))
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # the sweep died while it wrote
        sys.exit(128 + signal.SIGTERM)
    _run(json.loads(line), pipe=0)


def run_forked(spec: Spec, output: str, environment: dict[str, str]) -> None:
    """Trains a job in a process that the fork server has made; what it prints goes to `output`."""
    os.setsid()  # Ctrl-C in a terminal is for the sweep, which then asks its jobs to stop
    os.environ.clear()
    os.environ.update(environment)
    with open(output, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    faulthandler.enable()
    import numpy as np

    np.random.seed()  # its state is the fork server's, the same in every job
    parent = parent_process()
    assert parent is not None
    _run(spec, pipe=parent.sentinel)


def _run(spec: Spec, pipe: int | None = None) -> NoReturn:
    """Trains the job and exits. One of several processes follows its launcher and has no pipe."""
    folder = RunFolder(Path(spec["folder"]))
    if pipe is not None:
        threading.Thread(target=_stop_with_the_sweep, args=(pipe,), daemon=True).start()
        if spec["devices"] > 1:
            _run_together(spec)
        if not _take(folder, spec):  # before torch is imported
            sys.exit(0)
    sys.argv = ["dlrun", "train", *spec["overrides"]]
    run_and_exit(lambda: _train(spec, folder), keeps_on=True)


def _run_together(spec: Spec) -> NoReturn:
    """Several processes train the job; ends as the first of them: for the sweep they are one."""
    from dlrun.training.launch import launch

    os.environ[_SPEC] = json.dumps(spec)
    code = launch(MODULE, spec["devices"])
    if code < 0:
        name = signal.Signals(-code).name
        print(f"one of the job's processes was killed by {name}", file=sys.stderr, flush=True)
        if name != "SIGKILL":
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _take(folder: RunFolder, spec: Spec) -> bool:
    """Locks the folder and signs job.json; False where another sweep has the job or just ended it.

    Only who holds the lock writes job.json, so it tells whether a process has worked on the job.
    """
    try:
        folder.lock()
    except UserError:
        return False
    status, record = read_status(folder), folder.path / "job.json"
    failed = status is not None and status.state == "failed" and status.heartbeat >= spec["began"]
    other = read_json(record).get("threads", spec["threads"]) != spec["threads"]
    if failed or other or (status is not None and status.state == "completed"):
        return False
    kept = {"overrides": spec["overrides"], "threads": spec["threads"], "token": spec["token"]}
    write_json(record, kept)
    return True


def _stop_with_the_sweep(pipe: int) -> None:
    while os.read(pipe, 1024):
        pass
    from dlrun.training.ranks import stop_here

    stop_here()


def _train(spec: Spec, folder: RunFolder) -> int:
    """Trains from where the folder stands; if anything goes wrong, the folder says so."""
    from dlrun.training.ranks import is_first, process_group

    began = time.time()
    try:
        from dlrun.config.schema import check
        from dlrun.runs.run import Run
        from dlrun.training.prerequisites import ready, train_compared
        from dlrun.views.summary import print_result

        config = check(spec["config"])
        with process_group(config.hardware) as ranks:
            if not ranks.on_main_rank(lambda: _take(folder, spec)):
                return 0
            console = ranks.console()
            train_compared(ready(config, console, ranks), folder, console, ranks)
        if ranks.main:
            print_result(Run(folder.path), console, next_steps=False)
    except Exception as error:
        status = read_status(folder)
        if is_first() and (status is None or status.state != "failed" or status.heartbeat < began):
            # It went wrong before the training began, which would have recorded it.
            with suppress(OSError):  # of a full disk: the first one counts
                Log(folder.log, Console()).keep_failure(error)
            note_end(folder, "failed", told(error) or one_line(error))
        raise
    return 0


if __name__ == "__main__":
    main()
