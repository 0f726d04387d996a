"""What a sweep consists of: each job's settled config, and the folder that its signature names."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dlrun.config.schema import TrainConfig
from dlrun.config.signature import signature
from dlrun.config.typed import to_plain_types
from dlrun.files import exclusive, read_json, write_json
from dlrun.runs.folder import RunFolder

State = Literal["waiting", "running", "elsewhere", "completed", "pruned", "interrupted", "failed"]
"""`waiting` has not started; `elsewhere`: another process trains it."""
ENDED: tuple[State, ...] = ("completed", "pruned", "interrupted", "failed")
_UNNAMED = re.compile("[0-9a-f]{8}")


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

    @property
    def result(self) -> str:
        """'val accuracy 0.91', or '' before the first evaluation."""
        if self.key_metric is None or self.value is None:
            return ""
        return f"val {self.key_metric} {self.value:.4g}"


def evaluations(folder: RunFolder) -> list[tuple[int, dict[str, float]]]:
    """The steps at which a run was evaluated on val, each with its numbers, without `val/`."""
    try:
        lines = folder.metrics.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        if '"val/' not in line:  # most are of train, and this is read all the time
            continue
        try:
            row = json.loads(line)
        except ValueError:  # being written
            break
        numbers = {key[4:]: value for key, value in row.items() if key.startswith("val/")}
        found.append((int(row["step"]), numbers))
    return found


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
