"""The processes that train one run together, over torch.distributed.

Each draws its share of every batch; gradients and logged numbers are averaged, so all keep the same
weights. The first, the main one, evaluates and writes; the others wait for it.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dlrun.config.schema import HardwareConfig
from dlrun.errors import RunFailed, UserError

# The others wait while the main one evaluates; one that died is noticed by its closed connection.
_PATIENCE = timedelta(days=2)


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

    @property
    def purpose(self) -> tuple[int, ...]:
        """What tells its random numbers from the others'; nothing where it is alone."""
        return () if self.size == 1 else (self.rank,)

    def share(self, rows: Tensor) -> Tensor:
        """This process's part of the rows (B,) of a batch, in order, (B / size,)."""
        return rows if self.size == 1 else rows.chunk(self.size)[self.rank]

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """The mean over the processes, in one exchange for each dtype.

        A parameter without a gradient here takes part with zeros; without one anywhere it keeps
        none, so that an optimizer passes it over as it would in one process.
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

    def largest(self, *numbers: int) -> list[int]:
        """Of each number the largest that any process gave."""
        if self.size == 1:
            return list(numbers)
        given = torch.tensor(numbers, device=self.device)
        with _told():
            dist.all_reduce(given, dist.ReduceOp.MAX)
        return [int(number) for number in given.tolist()]

    def from_main(self, value: Any) -> Any:
        """What the main process has; the others' own is ignored."""
        if self.size == 1:
            return value
        box = [value]
        with _told():
            dist.broadcast_object_list(box, device=self.device)
        return box[0]

    def wait(self) -> None:
        """Until all are here."""
        self.largest(0)

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """What may be made only once, such as a file in a cache, is there for the others."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def _sum(self, tensor: Tensor) -> None:
        with _told():
            dist.all_reduce(tensor)


ALONE = Ranks()


def wanted(config: HardwareConfig) -> int:
    """How many processes `hardware.devices` asks for.

    Raises:
        UserError: as many as there are GPUs, and there is none.
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
    """How many processes torchrun has started, of which this is one; None where it has not."""
    text = os.environ.get("WORLD_SIZE", "")
    return int(text) if text.isdigit() and "RANK" in os.environ else None


@contextmanager
def joined(config: HardwareConfig) -> Iterator[Ranks]:
    """This process among those that torchrun started; alone where it started none.

    Raises:
        UserError: more processes are asked for than were started, or the batch cannot be shared.
    """
    size = started()
    if size is None:
        if wanted(config) > 1:
            raise UserError(
                f"hardware.devices: got {config.devices}, but nothing has started that many "
                "processes here; a single `dlrun train` does, or torchrun"
            )
        yield ALONE
        return
    if config.devices not in ("auto", size):
        raise UserError(
            f"hardware.devices: got {config.devices}, but torchrun has started {size} processes; "
            "give the same number, or hardware.devices=auto"
        )
    device = torch.device("cpu")
    if config.device != "cpu" and torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Ranks(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()


@contextmanager
def _told() -> Iterator[None]:
    """Raises RunFailed where another process is gone."""
    try:
        yield
    except (RuntimeError, dist.DistBackendError) as error:
        raise RunFailed(
            "another process of this run was lost, or failed with what it said above; dlrun resume "
            "goes on from the last checkpoint"
        ) from error
