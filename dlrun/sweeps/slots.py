"""How many jobs run at a time, and which part of the machine each of them gets."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

from dlrun.config.schema import SweepConfig, TrainConfig

_JOB_MEMORY = 1.5 * 2**30  # bytes: torch, a small data set and a small network
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Slots:
    """`jobs` slots, each for one job at a time."""

    jobs: int
    threads: int
    """CPU threads of each job; its processes divide them."""
    gpus: tuple[str, ...] = ()
    """Names for CUDA_VISIBLE_DEVICES; empty where no job uses a GPU."""
    line: str = ""
    """The decision and its reason, for the user."""

    def environment(self, slot: int, threads: int, devices: int = 1) -> dict[str, str]:
        """The environment variables of a job, besides the user's own.

        Args:
            slot: the job's, in [0, jobs).
            threads: of each of its processes.
            devices: the number of its processes; each has a GPU where there are any.
        """
        given = os.environ.get("OMP_NUM_THREADS", "")
        count = str(min(threads, int(given)) if given.isdigit() and int(given) else threads)
        found = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
        if self.gpus:
            own = [(slot * devices + i) % len(self.gpus) for i in range(devices)]
            found["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus[i] for i in dict.fromkeys(own))
        return found


def processes(config: TrainConfig) -> int:
    """How many processes train one run of `config` together.

    Raises:
        UserError: they cannot share it, or there is not one GPU for which they are asked.
    """
    if config.hardware.devices == 1:
        return 1
    from dlrun.sweeps.launch import missing_processes  # imports torch

    return missing_processes(config)


def divide(settings: SweepConfig, configs: list[TrainConfig]) -> Slots:
    """Divides this machine among the jobs of a sweep.

    One job for each GPU, or without one for each core, as far as memory allows: small networks gain
    more from a second job than from a second thread. A job of several processes takes as many
    GPUs or cores. The result depends on all jobs of the sweep, not on those that are left.
    """
    cores, gpus = _cores(), _gpus() if _any_gpu(configs) else ()
    devices = max(processes(config) for config in configs)
    threads = max(_threads(config) * processes(config) for config in configs)
    why = f"{len(gpus)} GPUs" if gpus else f"{cores} cores"
    if settings.jobs == "auto":
        jobs = min(len(configs), max(1, len(gpus) // devices if gpus else cores // threads))
        room = max(1, int(_free_memory() // (_JOB_MEMORY * devices)))
        if room < jobs:
            jobs, why = room, "as many as memory has room for"
    else:
        jobs = min(len(configs), settings.jobs)
    each = max(1, cores // jobs)
    own = max(1, each // devices)
    if all(config.hardware.threads != "auto" for config in configs):
        own = max(map(_threads, configs))
    processes_each = f", {devices} processes each" if devices > 1 else ""
    of = "of each process" if devices > 1 else "each"
    line = f"{jobs} at a time ({why}){processes_each}, {own} thread{'s' * (own > 1)} {of}"
    return Slots(jobs, each, gpus, line)


def _threads(config: TrainConfig) -> int:
    """Of one process, where the config gives a number."""
    return 1 if config.hardware.threads == "auto" else int(config.hardware.threads)


def _any_gpu(configs: list[TrainConfig]) -> bool:
    return any(config.hardware.device in ("auto", "cuda") for config in configs)


def _cores() -> int:
    """Those that this process may use, by its affinity and its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        return min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return count


def _gpus() -> tuple[str, ...]:
    """Asks the driver only: initializes no GPU and takes none of its memory."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    import torch

    return tuple(str(number) for number in range(torch.cuda.device_count()))


def _free_memory() -> float:
    """Bytes available to new processes, on this machine or in this container."""
    free = float(psutil.virtual_memory().available)
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        return min(free, limit - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return free


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed so far because memory ran out."""
    for path in (_CGROUP / "memory.events", Path("/proc/vmstat")):
        try:
            rows = dict(line.split() for line in path.read_text().splitlines())
            return int(rows["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0
