"""The processes that train one run together, over torch.distributed.

Each draws its part of every batch; gradients and logged numbers are averaged, so all keep the same
weights. The first, the main one, evaluates and writes; the others wait for it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlrun.config.schema import HardwareConfig
from dlrun.console import Console, log_to
from dlrun.errors import Interrupted, RunFailed, UserError
from dlrun.runs.signals import LAUNCHER, StopRequest

# The others wait while the main one evaluates, or trains a teacher for days; one that died is
# noticed by its closed connection. It must fit into 32 bits as milliseconds.
_PATIENCE = timedelta(days=20)
_POLL = 1.0  # seconds
_GRACE = 600.0  # seconds for the step and the checkpoint of a process whose launcher was killed

Found = TypeVar("Found")


@dataclass(frozen=True)
class Ranks:
    """This process among `size`; with a size of 1 nothing is exchanged."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether it is the one that evaluates and writes."""
        return self.rank == 0

    def console(self) -> Console:
        """One process speaks for all; the others' print nothing."""
        console = Console(quiet=not self.main)
        if self.main:
            log_to(console)
        if self.size == 1 and "RANK" in os.environ and started() is None:
            console.say("RANK is set without MASTER_ADDR: left over, one process trains")
        return console

    @property
    def purpose(self) -> tuple[int, ...]:
        """What makes its random numbers differ from the others'; empty for a single process."""
        return () if self.size == 1 else (self.rank,)

    def shard(self, rows: Tensor) -> Tensor:
        """This process's part of the rows (B,) of a batch, in order, (B / size,)."""
        return rows if self.size == 1 else rows.chunk(self.size)[self.rank]

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """The mean over the processes, in one exchange for each dtype.

        A parameter without a gradient here counts as zeros; without one in any process it keeps
        none, so that an optimizer skips it as it would in one process.
        """
        if self.size == 1:
            return
        for dtype in sorted({p.dtype for p in parameters}, key=str):
            own = [p for p in parameters if p.dtype == dtype]
            flags = torch.tensor([float(p.grad is not None) for p in own], dtype=dtype)
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
            flat = torch.cat([flags.to(own[0].device), *(part.flatten() for part in parts)])
            self._sum(flat)
            there = flat[: len(own)].tolist()
            means = (flat[len(own) :] / self.size).split([p.numel() for p in own])
            for p, known, mean in zip(own, there, means, strict=True):
                if known:
                    p.grad = mean.view_as(p)

    def average(self, numbers: Tensor) -> Tensor:
        """The mean over the processes; NaN and infinity of any of them are in it."""
        if self.size == 1:
            return numbers
        total = numbers.to(self.device)
        self._sum(total)
        return (total / self.size).to(numbers.device)

    def all_reduce_max(self, *numbers: int) -> list[int]:
        """The largest of each number over the processes."""
        if self.size == 1:
            return list(numbers)
        given = torch.tensor(numbers, device=self.device)
        with _lost_process():
            dist.all_reduce(given, dist.ReduceOp.MAX)
        return [int(number) for number in given.tolist()]

    def from_main(self, value: Any) -> Any:
        """What the main process has; the others' own is ignored."""
        if self.size == 1:
            return value
        box = [value]
        with _lost_process():
            dist.broadcast_object_list(box, device=self.device)
        return box[0]

    def on_main_rank(self, work: Callable[[], Found]) -> Found:
        """What `work` gives, done by the main process alone, however long; the others wait.

        Its result is pickled. Where it raises, all end: the main process says why, the others exit
        silently with the same code.
        """
        if self.size == 1:
            return work()
        if not self.main:
            with StopRequest(quiet=True):  # whether to stop is the main one's to say
                code, found = self.from_main(None)
            if code:
                raise SystemExit(code)
            return found  # type: ignore[no-any-return]
        try:
            found = work()
        except (Interrupted, Exception) as error:
            with suppress(RunFailed):  # another may have ended already
                self.from_main((getattr(error, "exit_code", 1), None))
            raise
        self.from_main((0, found))
        return found

    def wait(self) -> None:
        """Until all are here."""
        self.all_reduce_max(0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What may be made only once, such as a file in a cache, is there for the others."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def _sum(self, tensor: Tensor) -> None:
        with _lost_process():
            dist.all_reduce(tensor)


SINGLE = Ranks()


def wanted(config: HardwareConfig) -> int:
    """How many processes `hardware.devices` asks for.

    Raises:
        UserError: one for each GPU, but there is no GPU.
    """
    if config.devices != "auto":
        return config.devices
    found = torch.cuda.device_count()
    if not found or config.device == "cpu":
        raise UserError(
            "hardware.devices: got auto, all GPUs, but there is none; on the CPU give a number of "
            "processes, such as hardware.devices=2"
        )
    return found


def started() -> int | None:
    """How many processes torchrun has started, of which this is one; None where it has not.

    It says where they meet, too: RANK and WORLD_SIZE alone are left over from something else.
    """
    text = os.environ.get("WORLD_SIZE", "")
    there = "RANK" in os.environ and "MASTER_ADDR" in os.environ
    return int(text) if text.isdigit() and there else None


def is_first() -> bool:
    """Whether this process will be the main one, known before they are joined."""
    return started() is None or os.environ["RANK"] == "0"


def joint_device(config: HardwareConfig) -> torch.device:
    """What several processes exchange numbers on: a GPU each, or else the CPU. Wakes no GPU."""
    gpus = config.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if gpus else "cpu")


@contextmanager
def process_group(config: HardwareConfig) -> Iterator[Ranks]:
    """This process among those that torchrun started; alone where it started none.

    Raises:
        UserError: another number of processes is asked for than was started.
    """
    size = started()
    if size is None:
        if wanted(config) > 1:
            raise UserError(
                f"hardware.devices: got {config.devices}, but nothing has started that many "
                "processes here; `dlrun train` does, or torchrun"
            )
        yield SINGLE
        return
    if config.devices not in ("auto", size):
        raise UserError(
            f"hardware.devices: got {config.devices}, but torchrun has started {size} processes; "
            "give the same number, or hardware.devices=auto"
        )
    if LAUNCHER in os.environ:
        threading.Thread(target=_stop_with_the_launcher, daemon=True).start()
    device = joint_device(config)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()


def _stop_with_the_launcher() -> None:
    """A killed launcher cannot ask its processes to stop, and must not leave them running."""
    while os.getppid() == int(os.environ[LAUNCHER]):
        time.sleep(_POLL)
    stop_here()


def stop_here() -> None:
    """Asks this very process to save and stop; ends it where that takes too long."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(128 + signal.SIGTERM)


@contextmanager
def _lost_process() -> Iterator[None]:
    """Raises RunFailed where another process has ended."""
    try:
        yield
    except (RuntimeError, dist.DistBackendError) as error:
        raise RunFailed(
            "another process of this run was lost, or failed with the message above; dlrun resume "
            "continues from the last checkpoint"
        ) from error
