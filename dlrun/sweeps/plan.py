"""What a sweep consists of: each job's settled config and the folder that its signature names."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dlrun.config.check import to_plain_types
from dlrun.config.schema import TrainConfig
from dlrun.config.signature import signature
from dlrun.files import exclusive, read_json, write_json
from dlrun.runs.folder import RunFolder

State = Literal["waiting", "running", "elsewhere", "completed", "pruned", "interrupted", "failed"]
"""`waiting` has not begun, `elsewhere` is being trained by another process."""
OVER: tuple[State, ...] = ("completed", "pruned", "interrupted", "failed")
_UNNAMED = re.compile("[0-9a-f]{8}")


@dataclass
class Job:
    """One run of a sweep and how it stands."""

    number: int
    overrides: list[str]
    label: str
    """What tells it from the sweep's other jobs."""
    config: TrainConfig
    folder: RunFolder
    key_metric: str | None
    state: State = "waiting"
    reason: str = ""
    step: int = 0
    total: int = 0
    value: float | None = None
    """The key metric on val: the latest while it runs, the best once it is completed."""
    seconds_left: float | None = None
    before: bool = field(default=False)
    """Whether it was over before this sweep began."""


def plan(
    configs: Sequence[tuple[list[str], TrainConfig]],
    sweep_dir: Path,
    first: int = 0,
    memo: dict[str, str] | None = None,
) -> list[Job]:
    """The jobs in order; makes their folders.

    Args:
        configs: each job's overrides and checked config.
        sweep_dir: the sweep's folder.
        first: the number of the first job.
    """
    common = set.intersection(*(set(overrides) for overrides, _ in configs))
    jobs = []
    with places(sweep_dir, memo) as place:
        for number, (overrides, config) in enumerate(configs, first):
            label = " ".join(o for o in overrides if o not in common or len(configs) == 1)
            folder, metric = place(config), key_metric(config)
            jobs.append(Job(number, overrides, label or "(defaults)", config, folder, metric))
    return jobs


def meanings(sweep_dir: Path) -> dict[str, str]:
    """What references such as `last` were found to mean when the sweep began."""
    return read_json(sweep_dir / "meant.json")


@contextmanager
def places(
    sweep_dir: Path, memo: dict[str, str] | None = None
) -> Iterator[Callable[[TrainConfig], RunFolder]]:
    """Gives a function from a job's settled config to its folder.

    One process at a time is in here, so that two sweeps that begin at the same moment agree on
    where a job that both have lies. `memo` is kept for `meanings`.
    """
    sweep_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(sweep_dir.parent / ".lock"):
        known = _known_elsewhere(sweep_dir)

        def place(config: TrainConfig) -> RunFolder:
            path = sweep_dir / signature(to_plain_types(config))
            if path.is_symlink() and not path.exists():  # what it led to was deleted
                path.unlink()
            if not path.exists():
                if path.name in known:
                    path.symlink_to(Path("..") / known[path.name].parent.name / path.name)
                else:
                    path.mkdir()
            return RunFolder(path.resolve() if path.is_symlink() else path.absolute())

        yield place
        write_json(sweep_dir / "meant.json", meanings(sweep_dir) | (memo or {}))


def _known_elsewhere(sweep_dir: Path) -> dict[str, Path]:
    """Job folders of the other sweeps without a name, by signature.

    A sweep that was given a name is apart: who names it may want everything anew.
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
    """What chooses the best epoch of such a run, on val."""
    from dlrun.registry import lookup

    found: str | None = lookup("method", config.method.name).key_metric_for(config.method.options)
    return found
