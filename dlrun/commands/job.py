"""One job of a sweep, in a process of its own or as `task` in a worker of another launcher.

`python -m dlrun.commands.job` has its order as one line of JSON on standard input. That stays open
while the sweep lives; where it ends, the sweep is no more, and the job saves and stops.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.commands.ending import ended
from dlrun.errors import UserError
from dlrun.registry import one_line
from dlrun.runs.files import read_json
from dlrun.runs.folder import RunFolder
from dlrun.runs.log import Log
from dlrun.runs.status import note_end, read_status
from dlrun.sweeps.process import BUSY

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

_POLL = 1.0  # seconds
_GRACE = 600.0  # seconds that a job has for its step and its checkpoint once the sweep is no more


def main() -> None:
    """Trains the job that standard input tells; the exit codes are those of dlrun."""
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # the sweep ended while it wrote
        sys.exit(128 + signal.SIGTERM)
    order = json.loads(line)
    threading.Thread(target=_stop_with_the_sweep, daemon=True).start()
    folder = RunFolder(Path(order["folder"]))
    try:
        folder.lock()
    except UserError:
        sys.exit(BUSY)
    status = read_status(folder)
    if status is not None and status.state == "completed":  # by another sweep, just now
        sys.exit(0)
    if status is not None and status.state == "failed" and status.heartbeat >= order["began"]:
        sys.exit(1)
    sys.argv = ["dlrun", "train", *order["overrides"]]
    ended(lambda: _train(order["config"], folder))


def _stop_with_the_sweep() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)


def _train(plain: dict[str, Any], folder: RunFolder) -> int:
    from dlrun.commands.console import log_to, make_console

    console = make_console()
    log_to(console)
    train_in(plain, folder, console, time.time())
    return 0


def train_in(plain: dict[str, Any], folder: RunFolder, console: "Console", began: float) -> None:
    """Trains from where the folder stands; whatever goes wrong, the folder tells it."""
    try:
        from dlrun.commands.present import present
        from dlrun.commands.start import prepare
        from dlrun.config.check import check
        from dlrun.training.ranks import joined
        from dlrun.training.run import train

        config = check(plain)
        with joined(config.hardware) as ranks:  # several are for `dlrun train` alone
            result = train(prepare(config, console), folder, console, ranks)
        present(result, console, next_steps=False)
    except Exception as error:
        status = read_status(folder)
        if status is None or status.state != "failed" or status.heartbeat < began:
            # It went wrong before the training began, which would have told it.
            Log(folder.log, console).keep_failure(error)
            told = str(error) if isinstance(error, UserError) else one_line(error)
            note_end(folder, "failed", told)
        raise


def task(config: "DictConfig") -> float | None:
    """The same in a worker of any other of Hydra's launchers.

    Returns:
        The best val value, or None where the job failed; why stands in its folder.
    """
    from hydra.core.hydra_config import HydraConfig

    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):  # torch would take all of the node's
        os.environ.setdefault("OMP_NUM_THREADS", cores)

    from dlrun.commands.console import log_to, make_console
    from dlrun.config.check import check, to_plain_types
    from dlrun.config.compose import to_plain
    from dlrun.sweeps.plan import places

    with places(Path(HydraConfig.get().sweep.dir)) as place:
        typed, folder = place(check(to_plain(config)))
    console = make_console()
    log_to(console)
    failure = None
    try:
        if _taken(folder):
            sys.argv = ["dlrun", "train", *HydraConfig.get().overrides.task]
            train_in(to_plain_types(typed), folder, console, time.time())
    except Exception as error:
        failure = str(error) if isinstance(error, UserError) else one_line(error)
    finally:
        folder.unlock()
        _clean_up()
    if failure is not None:  # told outside: the exception's traceback would keep the model alive
        console.print(f"job failed: {failure}", highlight=False, markup=False)
        return None
    value = read_json(folder.summary).get("best", {}).get("val")
    return None if value is None else float(value)


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
