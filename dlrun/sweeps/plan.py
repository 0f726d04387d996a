"""What a sweep consists of: each job's settled config and folder, and its part of the machine."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from dlrun.config.schema import SweepConfig, TrainConfig
from dlrun.config.signature import signature
from dlrun.config.typed import to_plain_types
from dlrun.files import exclusive, free_memory, open_regular, parse_lines, read_json, write_json
from dlrun.runs.folder import RunFolder
from dlrun.runs.provenance import CGROUP, cores
from dlrun.runs.shapes import ROW, misfit

State = Literal["waiting", "running", "elsewhere", "completed", "pruned", "interrupted", "failed"]
"""`waiting` has not started; `elsewhere`: another process trains it."""
ENDED: tuple[State, ...] = ("completed", "pruned", "interrupted", "failed")
_UNNAMED = re.compile("[0-9a-f]{8}")
_JOB_MEMORY = 1.5 * 2**30  # bytes: torch, a small data set and a small network


class Evaluations:
    """What a run measures on val: `metrics.jsonl`, of which each look reads what is new."""

    def __init__(self, path: Path) -> None:
        self.path, self._file, self._read = path, -1, 0
        self._rows: list[tuple[int, dict[str, float]]] = []

    def look(self) -> list[tuple[int, dict[str, float]]]:
        """The steps at which it was evaluated so far, each with its numbers, without `val/`."""
        with suppress(OSError), open_regular(self.path) as file:
            state = os.fstat(file.fileno())
            if state.st_ino != self._file or state.st_size < self._read:  # a run that is resumed
                self._file, self._read, self._rows = state.st_ino, 0, []  # replaces the file
            file.seek(self._read)
            new = file.read()
            new = new[: new.rfind(b"\n") + 1]
            self._read += len(new)
            self._rows += [
                (row["step"], {key[4:]: row[key] for key in row if key.startswith("val/")})
                for row in parse_lines(new, b'"val/')
                if not misfit(row, ROW)
            ]
        return self._rows


@dataclass
class Job:
    """One run of a sweep and its progress."""

    number: int
    overrides: list[str]
    label: str
    """What distinguishes it from the sweep's other jobs."""
    config: TrainConfig
    folder: RunFolder
    key_metric: str | None
    state: State = "waiting"
    reason: str = ""
    step: int = 0
    total: int = 0
    value: float | None = None
    """The key metric on val: the latest while the job runs, the best once it is completed."""
    seconds_left: float | None = None
    ended_before: bool = False
    """Whether it had ended before this sweep began."""

    @cached_property
    def evaluations(self) -> Evaluations:
        """Of its run."""
        return Evaluations(self.folder.metrics)

    @property
    def result(self) -> str:
        """'val accuracy 0.91', or '' before the first evaluation."""
        if self.key_metric is None or self.value is None:
            return ""
        return f"val {self.key_metric} {self.value:.4g}"


def plan(
    configs: Sequence[tuple[list[str], TrainConfig]],
    sweep_dir: Path,
    first: int = 0,
    references: dict[str, str] | None = None,
) -> list[Job]:
    """The jobs in order; makes their folders.

    Args:
        configs: each job's overrides and settled config.
        sweep_dir: the sweep's folder.
        first: the number of the first job.
        references: see `job_folders`.
    """
    common = set.intersection(*(set(overrides) for overrides, _ in configs))
    jobs = []
    with job_folders(sweep_dir, references) as folder_of:
        for number, (overrides, config) in enumerate(configs, first):
            label = " ".join(o for o in overrides if o not in common or len(configs) == 1)
            folder, metric = folder_of(config), key_metric(config)
            jobs.append(Job(number, overrides, label or "(defaults)", config, folder, metric))
    return jobs


def read_references(sweep_dir: Path) -> dict[str, str]:
    """The runs that names such as `last` stood for when the sweep began."""
    return read_json(sweep_dir / "references.json")


@contextmanager
def job_folders(
    sweep_dir: Path, references: dict[str, str] | None = None
) -> Iterator[Callable[[TrainConfig], RunFolder]]:
    """Gives a function from a settled config to the job's folder, which it makes.

    Only one process at a time is in here, so that two sweeps that begin at the same moment agree on
    the folder of a job that both have.

    Args:
        sweep_dir: the sweep's folder.
        references: kept for `read_references`.
    """
    sweep_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(sweep_dir.parent / ".lock"):
        elsewhere = _jobs_of_others(sweep_dir)

        def folder_of(config: TrainConfig) -> RunFolder:
            path = sweep_dir / signature(to_plain_types(config))
            if path.is_symlink() and not path.exists():  # the run was deleted
                path.unlink()
            if not path.exists():
                if path.name in elsewhere:
                    path.symlink_to(Path("..") / elsewhere[path.name].parent.name / path.name)
                else:
                    path.mkdir()
            return RunFolder(path.resolve() if path.is_symlink() else path.absolute())

        yield folder_of
        if references:
            write_json(sweep_dir / "references.json", read_references(sweep_dir) | references)


def _jobs_of_others(sweep_dir: Path) -> dict[str, Path]:
    """The job folders of all other sweeps without a name, by signature.

    A sweep with a name shares none: the user may want to train everything again.
    """
    if not _UNNAMED.fullmatch(sweep_dir.name):
        return {}
    found: dict[str, Path] = {}
    for other in sorted(sweep_dir.parent.iterdir()):
        if other != sweep_dir and _UNNAMED.fullmatch(other.name) and other.is_dir():
            for path in other.iterdir():
                if not path.is_symlink() and path.is_dir():
                    found.setdefault(path.name, path)
    return found


def key_metric(config: TrainConfig) -> str | None:
    """The metric of val that chooses the best epoch of such a run."""
    from dlrun.registry import lookup

    found: str | None = lookup("method", config.method.name).key_metric_for(config.method.options)
    return found


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
        """The environment variables of a job, in addition to the user's own.

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
    from dlrun.training.launch import missing_processes  # imports torch

    return missing_processes(config)


def divide(settings: SweepConfig, configs: list[TrainConfig]) -> Slots:
    """Divides this machine among the jobs of a sweep.

    One job for each GPU, or without one for each core, as far as memory allows: small networks gain
    more from a second job than from a second thread. A job of several processes takes as many
    GPUs or cores. The result depends on all jobs of the sweep, not on those that are left.
    """
    here, gpus = cores(), _gpus() if _any_gpu(configs) else ()
    devices = max(processes(config) for config in configs)
    threads = max(_threads(config) * processes(config) for config in configs)
    why = f"{len(gpus)} GPUs" if gpus else f"{here} cores"
    if settings.jobs == "auto":
        jobs = min(len(configs), max(1, len(gpus) // devices if gpus else here // threads))
        room = max(1, int(free_memory() // (_JOB_MEMORY * devices)))
        if room < jobs:
            jobs, why = room, "as many as memory has room for"
    else:
        jobs = min(len(configs), settings.jobs)
    each = max(1, here // jobs)
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


def _gpus() -> tuple[str, ...]:
    """As CUDA_VISIBLE_DEVICES names them. Asks the driver only: takes no memory of a GPU.

    The variable may be set where there is none, or name more than there are.
    """
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if visible is None else map(str.strip, visible.split(","))
    return tuple(names)[:count]


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed so far because memory ran out."""
    for path in (CGROUP / "memory.events", Path("/proc/vmstat")):
        try:
            rows = dict(line.split() for line in path.read_text().splitlines())
            return int(rows["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0
