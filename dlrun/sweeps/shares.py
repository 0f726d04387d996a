"""How many jobs at a time, and what each gets of the machine."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from dlrun.config.schema import SweepConfig, TrainConfig

_JOB_MEMORY = 1.5 * 2**30  # bytes: torch, a small data set and a small network
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Shares:
    """The decision, and `line`, which tells it."""

    jobs: int
    threads: int
    """Of each job; its processes divide them."""
    gpus: tuple[str, ...]
    """What CUDA_VISIBLE_DEVICES may say; empty where no job uses one."""
    line: str

    def environment(self, place: int, threads: int, devices: int = 1) -> dict[str, str]:
        """What the job at `place`, one of `jobs`, is started with besides the user's own.

        Args:
            place: from 0 on.
            threads: of each of its processes.
            devices: its processes, each of which has a GPU, if any has.
        """
        asked = os.environ.get("OMP_NUM_THREADS", "")
        most = min(threads, int(asked)) if asked.isdigit() and int(asked) else threads
        found = {"OMP_NUM_THREADS": str(most), "MKL_NUM_THREADS": str(most)}
        if self.gpus:
            first, count = place * devices, min(devices, len(self.gpus))
            own = [self.gpus[(first + i) % len(self.gpus)] for i in range(count)]
            found["CUDA_VISIBLE_DEVICES"] = ",".join(own)
        return found


def processes(config: TrainConfig) -> int:
    """How many train one run of `config` together.

    Raises:
        UserError: one for each GPU, and there is none.
    """
    if config.hardware.devices == 1:
        return 1
    from dlrun.training.ranks import wanted  # imports torch, which a wrong sweep needs not

    return wanted(config.hardware)


def share(asked: SweepConfig, configs: list[TrainConfig]) -> Shares:
    """Divides this machine among the jobs of a sweep.

    One job a GPU where there are any, else one a core, as far as memory reaches: small networks
    gain more from a second job than from a second thread. A job of several processes takes as many
    GPUs or cores. Depends on all jobs of the sweep and not on those that are left.
    """
    cores, gpus = _cores(), _gpus() if _any_gpu(configs) else ()
    devices = max(processes(config) for config in configs)
    threads = max(_threads(config) * processes(config) for config in configs)
    room = max(1, int(_free_memory() // (_JOB_MEMORY * devices)))
    why = f"of {cores} cores"
    if asked.jobs != "auto":
        jobs = asked.jobs
    elif gpus:
        jobs = max(1, len(gpus) // devices)
        why = f"one on each of {len(gpus)} GPUs" if devices == 1 else f"of {len(gpus)} GPUs"
    else:
        jobs = max(1, cores // threads)
    jobs = min(jobs, len(configs))
    if asked.jobs == "auto" and room < jobs:
        jobs, why = room, "as many as memory has room for"
    if devices > 1:
        why += f", {devices} processes each"
    each = max(1, cores // jobs)
    if all(config.hardware.threads != "auto" for config in configs):
        own = f"{max(map(_threads, configs))}, as asked"
    else:
        own = str(max(1, each // devices))
    line = f"{jobs} at a time ({why}), threads of each{' process' if devices > 1 else ''}: {own}"
    if gpus and asked.jobs != "auto":
        line += f", on {len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
    return Shares(jobs, each, gpus, line)


def _threads(config: TrainConfig) -> int:
    """Of a process, as far as that was asked for."""
    return 1 if config.hardware.threads == "auto" else int(config.hardware.threads)


def _any_gpu(configs: list[TrainConfig]) -> bool:
    return any(config.hardware.device in ("auto", "cuda") for config in configs)


def _cores() -> int:
    """Those that this process may use: the machine's, the affinity's, or the container's."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        pass
    return count


def _gpus() -> tuple[str, ...]:
    """Without waking any: the driver is asked, and no memory of a GPU is taken."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    import torch

    return tuple(str(number) for number in range(torch.cuda.device_count()))


def _free_memory() -> float:
    """Bytes that are free for new processes, of the machine or the container."""
    free = float(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        free = min(free, limit - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        pass
    return free


def memory_kills() -> int:
    """How many processes the kernel has killed so far because memory ran out."""
    for path in (_CGROUP / "memory.events", Path("/proc/vmstat")):
        try:
            rows = dict(line.split() for line in path.read_text().splitlines())
            return int(rows["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0
