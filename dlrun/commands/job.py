"""One job of a sweep, in a process of its own or as `task` in a worker of another launcher.

`python -m dlrun.commands.job` has its order as one line of JSON on standard input. That stays open
while the sweep lives; where it ends, the sweep is no more, and the job saves and stops. A job of
several processes starts them, of the same module, and hands the order on in the environment.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.console import make_console
from dlrun.commands.ending import ended
from dlrun.errors import Interrupted, UserError
from dlrun.files import read_json
from dlrun.registry import one_line
from dlrun.runs.folder import RunFolder
from dlrun.runs.log import Log
from dlrun.runs.status import note_end, read_status
from dlrun.sweeps.process import BUSY, MODULE, killed_by

if TYPE_CHECKING:
    from omegaconf import DictConfig

_POLL = 1.0  # seconds
_ORDER = "DLRUN_ORDER"
"""The environment variable with the order, for one of several processes."""


def main() -> None:
    """Trains the job that it is told; the exit codes are those of dlrun."""
    handed_on = os.environ.pop(_ORDER, "")
    line = handed_on or sys.stdin.readline()
    if not handed_on and not line.endswith("\n"):  # the sweep ended while it wrote
        sys.exit(128 + signal.SIGTERM)
    order = json.loads(line)
    folder = RunFolder(Path(order["folder"]))
    if not handed_on:
        threading.Thread(target=_stop_with_the_sweep, daemon=True).start()
        if order["devices"] > 1:
            _end_as(_launch(order))
        if (code := _begin(folder, order["began"])) is not None:  # told before torch is imported
            sys.exit(code)
    sys.argv = ["dlrun", "train", *order["overrides"]]
    ended(lambda: train_in(order["config"], folder, lambda: _begin(folder, order["began"])))


def _launch(order: dict[str, Any]) -> int:
    """The order in as many processes as it says; how they ended, as `launch` tells it."""
    from dlrun.commands.launch import launch

    os.environ[_ORDER] = json.dumps(order)
    try:
        return launch(MODULE, order["devices"])
    finally:
        os.environ.pop(_ORDER, None)


def _end_as(code: int) -> None:
    """As the process of the job that ended first: the sweep sees one job."""
    if code < 0:
        name = signal.Signals(-code).name
        print(f"one of the job's processes was killed by {name}", file=sys.stderr, flush=True)
        if name != "SIGKILL":
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _begin(folder: RunFolder, began: float) -> int | None:
    """Takes the folder; the exit code where there is nothing to do."""
    try:
        folder.lock()
    except UserError:
        return BUSY
    status = read_status(folder)
    if status is not None and status.state == "completed":  # by another sweep, just now
        return 0
    if status is not None and status.state == "failed" and status.heartbeat >= began:
        return 1
    return None


def _stop_with_the_sweep() -> None:
    while os.read(0, 1024):
        pass
    from dlrun.training.ranks import stop_here

    stop_here()


def train_in(
    plain: dict[str, Any], folder: RunFolder, begin: Callable[[], int | None] = lambda: None
) -> int:
    """Trains from where the folder stands; whatever goes wrong, the folder tells it.

    Args:
        plain: the settled config.
        folder: of the run.
        begin: takes the folder where that was not done, by the first of several processes; gives
            the exit code where there is nothing to do.

    Returns:
        The exit code.
    """
    from dlrun.training.ranks import is_first

    began = time.time()
    try:
        from dlrun.commands.start import console_of, ready, train_compared
        from dlrun.config.check import check
        from dlrun.runs.run import Run
        from dlrun.training.ranks import joined
        from dlrun.views.summary import print_result

        config = check(plain)
        with joined(config.hardware) as ranks:
            if (code := ranks.by_main(begin)) is not None:
                return code
            console = console_of(ranks)
            train_compared(ready(config, console, ranks), folder, console, ranks)
        if ranks.main:
            print_result(Run(folder.path), console, next_steps=False)
    except Exception as error:
        status = read_status(folder)
        if is_first() and (status is None or status.state != "failed" or status.heartbeat < began):
            # It went wrong before the training began, which would have told it.
            Log(folder.log, make_console()).keep_failure(error)
            told = str(error) if isinstance(error, UserError) else one_line(error)
            note_end(folder, "failed", told)
        raise
    return 0


def task(config: "DictConfig") -> float | None:
    """The same in a worker of any other of Hydra's launchers.

    Returns:
        The best val value, or None where the job failed; why stands in its folder.
    """
    from hydra.core.hydra_config import HydraConfig

    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):  # torch would take all of the node's
        os.environ.setdefault("OMP_NUM_THREADS", cores)

    from dlrun.config.check import check, to_plain_types
    from dlrun.config.compose import to_plain
    from dlrun.runs.references import settle
    from dlrun.sweeps.plan import meanings, places
    from dlrun.sweeps.shares import processes

    sweep_dir, plain = Path(HydraConfig.get().sweep.dir), to_plain(config)
    memo = meanings(sweep_dir)
    typed = check(plain, settle(plain, memo))
    with places(sweep_dir, memo) as place:
        folder = place(typed)
    order = {
        "folder": str(folder.path),
        "config": to_plain_types(typed),
        "overrides": list(HydraConfig.get().overrides.task),
        "devices": processes(typed),
        "began": time.time(),
    }
    failure = None
    try:
        failure = _ordered(order, folder)
    except Exception as error:
        failure = str(error) if isinstance(error, UserError) else one_line(error)
    finally:
        folder.unlock()
        _clean_up()
    if failure is not None:  # told outside: the exception's traceback would keep the model alive
        make_console().print(f"job failed: {failure}", highlight=False, markup=False)
        return None
    value = read_json(folder.summary).get("best", {}).get("val")
    return None if value is None else float(value)


def _ordered(order: dict[str, Any], folder: RunFolder) -> str | None:
    """Does what is left to do; why it failed, where several processes did it and have said so.

    Raises:
        Interrupted: stopped on request, with a checkpoint.
    """
    while _taken(folder):
        if order["devices"] == 1:
            sys.argv = ["dlrun", "train", *order["overrides"]]
            train_in(order["config"], folder)
            return None
        folder.unlock()  # for the first of them to take
        if (threads := os.environ.get("OMP_NUM_THREADS", "")).isdigit():  # of the whole job
            os.environ["OMP_NUM_THREADS"] = str(max(1, int(threads) // order["devices"]))
        code = _launch(order)
        if code < 0:
            note_end(folder, *killed_by(signal.Signals(-code)))
        status = read_status(folder)
        reason = status.reason if status else ""
        if code > 128:
            raise Interrupted(code - 128, reason)
        if code != BUSY:
            return (reason or f"exit code {code}") if code else None
    return None


def _taken(folder: RunFolder) -> bool:
    """Whether there is something to do, once no other process is doing it."""
    while True:
        with suppress(UserError):
            folder.lock()
            status = read_status(folder)
            return status is None or status.state != "completed"
        time.sleep(_POLL)


def _clean_up() -> None:
    """For the next job of the same process."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


if __name__ == "__main__":
    main()
