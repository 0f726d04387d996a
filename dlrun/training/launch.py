"""Several processes for one run, started by torch's own launcher, the one behind torchrun."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dlrun.config.schema import TrainConfig
from dlrun.runs.provenance import cores
from dlrun.runs.signals import LAUNCHER
from dlrun.training.hardware import pick_device
from dlrun.training.preflight import check_processes
from dlrun.training.ranks import Ranks, joint_device, started, wanted

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import ProcessFailure

_HERE = "127.0.0.1"
_GRACE = "600"  # seconds for a step and its checkpoint; torch's own 30 are few


def missing_processes(config: TrainConfig) -> int:
    """How many processes have to be started: 1 where torchrun, or this launcher, has done so.

    Raises:
        UserError: so many cannot share this run; raised once, here, and not by each of them.
    """
    count = 1 if started() is not None else wanted(config.hardware)
    if count > 1:
        device = joint_device(config.hardware)
        if device.type == "cpu":
            pick_device(config.hardware.device)  # there may be none of the kind that was asked for
        check_processes(config, Ranks(0, count, device))
    return count


def relaunch(arguments: Sequence[str], count: int) -> int:
    """The exit code of `dlrun ARGUMENTS` in `count` processes; 1 where one was killed."""
    code = launch(("-P", "-m", "dlrun", *arguments), count)
    return 1 if code < 0 else code


def launch(command: Sequence[str], count: int) -> int:
    """Runs `python COMMAND` in `count` processes on this machine.

    Each of them has printed what went wrong; the launcher's own report is left out.

    Returns:
        The exit code of the first that failed; the negative signal number of one that was killed.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # torch gives each of its loggers a level of its own
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // count)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _GRACE)
    if sys.platform == "linux":  # gloo would look up the name of the machine
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ[LAUNCHER] = str(os.getpid())
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{_HERE}:0",
        local_addr=_HERE,  # the name of the machine need not resolve
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-u", *command)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        return _exit_code([*failed.failures.values()])
    finally:
        del os.environ[LAUNCHER]
        logging.disable(logging.NOTSET)
    return 0


def _exit_code(failures: "Sequence[ProcessFailure]") -> int:
    """One for all: that of the first that failed, which is why the others did.

    The launcher then sends SIGTERM to those that are left, so SIGTERM is nobody's reason. A process
    that was killed takes the others down within the second to which failures are dated.
    """
    own = [failure for failure in failures if failure.exitcode != -signal.SIGTERM]
    if not own:
        return 128 + signal.SIGTERM
    began = min(failure.timestamp for failure in own)
    codes = [failure.exitcode for failure in own if failure.timestamp <= began + 1]
    return min(codes) if min(codes) < 0 else max(codes)
