"""Several processes for one run, started by torch's own launcher, the one behind torchrun."""

import logging
import os
import sys
import uuid
from collections.abc import Sequence

from dlrun.commands.start import demand_nothing_first
from dlrun.config.schema import TrainConfig
from dlrun.training.assemble import demand_shares
from dlrun.training.hardware import pick_device
from dlrun.training.ranks import Ranks, started, wanted


def processes(config: TrainConfig) -> int:
    """How many are still to be started: 1 where torchrun, or this launcher, has done so already.

    Raises:
        UserError: so many cannot share this run; told once, here, and not by each of them.
    """
    count = 1 if started() is not None else wanted(config.hardware)
    if count > 1:
        demand_shares(config, Ranks(0, count, pick_device(config.hardware.device)[0]))
        demand_nothing_first(config)
    return count


def launch(arguments: Sequence[str], count: int) -> int:
    """`dlrun ARGUMENTS` in `count` processes on this machine; the exit code of the first to fail.

    Each has said by itself what went wrong, so that the launcher's own account is left out.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-u", "-m", "dlrun", *arguments)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        return _exit_code([failure.exitcode for failure in failed.failures.values()])
    return 0


def _exit_code(codes: Sequence[int]) -> int:
    """One for all: what dlrun itself ended with, rather than 1 for what was killed."""
    own = [code for code in codes if code > 0]
    return max(own, default=1)
