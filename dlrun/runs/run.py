"""A run read from disk, and the walk that finds runs. Needs neither torch, Hydra nor OmegaConf."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from dlrun.errors import UserError
from dlrun.evaluation.metrics import describe, metrics_of
from dlrun.files import load_json, read_jsonl
from dlrun.options import Metric
from dlrun.runs.folder import RunFolder, reason
from dlrun.runs.shapes import PROVENANCE, ROW, SUMMARY, misfit
from dlrun.runs.status import UNKNOWN, Status, read_status
from dlrun.text import flatten, printable

STATES = ("running", "completed", "pruned", "interrupted", "lost", "failed", "unknown")
TESTED = ("trivial", "untrained", "last", "best")
_PICTURES = (
    "reconstructions", "translations", "predictions", "samples", "samples_mixture", "traversals",
    "interpolations", "neighbours",
)  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """Which number of a run is meant."""

    split: str
    """test or val."""
    which: str
    """last: at the end of training; best: of the checkpoint that the val split chose. Of the test
    split also untrained and trivial, the baselines."""
    metric: str

    def __str__(self) -> str:
        return f"{self.split}/{self.which}/{self.metric}"


@dataclass(frozen=True)
class Run:
    """What a run's folder says. Each file is read when it is first needed, and then kept.

    What is missing or damaged is empty: a run may not have come that far.
    """

    path: Path
    """Absolute."""
    links: tuple[Path, ...] = ()
    """Links to this folder that the walk has met: jobs of sweeps that share the run."""

    @cached_property
    def folder(self) -> RunFolder:
        """Where each file of the run is."""
        return RunFolder(self.path)

    @property
    def name(self) -> str:
        """The folder's."""
        return self.path.name

    @cached_property
    def config(self) -> dict[str, Any]:
        """Flat, such as {'optimizer.lr': 0.1}; empty where config.yaml cannot be read."""
        try:
            return flatten(self.folder.read_config())
        except UserError as error:
            _tell(str(error))
            return {}

    @cached_property
    def status(self) -> Status:
        """status.json; a run whose process has died says `interrupted` or `lost`."""
        found = read_status(self.folder)
        if found is None:
            _tell(f"{self.folder.status}: cannot be read")
        return found or UNKNOWN

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json, which is written at the end of the training."""
        return self._read(self.folder.summary, SUMMARY)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """provenance.json."""
        return self._read(self.folder.provenance, PROVENANCE)

    def _read(self, path: Path, shape: Mapping[str, Any]) -> dict[str, Any]:
        """The object in a file; {} where there is none, and where it is damaged, which is told."""
        try:
            found = load_json(path)
            wrong = misfit(found, shape)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            wrong = reason(error)
        if wrong:
            _tell(f"{path}: cannot be read ({wrong})")
            return {}
        return found

    @cached_property
    def history(self) -> dict[str, dict[int, tuple[float, float]]]:
        """metrics.jsonl: of each metric, such as train/loss, by step: seconds of training, value.

        Values may be NaN or infinite.
        """
        found: dict[str, dict[int, tuple[float, float]]] = {}
        for row in read_jsonl(self.folder.metrics):
            if wrong := misfit(row, ROW):
                _tell(f"{self.folder.metrics}: not all of it can be read ({wrong})")
                break
            step, seconds = row.pop("step"), row.pop("time")
            for name, value in row.items():
                if "/" in name:
                    found.setdefault(name, {})[step] = seconds, float(value)
        return found

    @cached_property
    def pictures(self) -> dict[str, list[tuple[int, Path]]]:
        """samples/KIND-STEP.png by kind, those first that people look for first, and by step."""
        found: dict[str, list[tuple[int, Path]]] = {}
        for path in self.folder.samples.glob("*.png"):
            kind, _, step = path.stem.rpartition("-")
            if kind and step.isdecimal():
                found.setdefault(kind, []).append((int(step), path))
        return {kind: sorted(found[kind]) for kind in sorted(found, key=kind_order)}

    @property
    def state(self) -> str:
        """One of STATES."""
        return self.status.state

    @property
    def is_complete(self) -> bool:
        """Whether its numbers count: those of another length of training are no sample."""
        return self.state == "completed"

    @property
    def can_resume(self) -> bool:
        """Whether `dlrun resume` has something to do."""
        return self.state in ("pruned", "interrupted", "lost", "failed")

    @property
    def reason(self) -> str:
        """Why it is in its state, or what cannot be read."""
        return self.status.reason or ("" if self.config else "config.yaml cannot be read")

    @property
    def seed(self) -> Any:
        """As in the config."""
        return self.config.get("seed")

    @property
    def method(self) -> str:
        """Its name in the config."""
        return str(self.config.get("method.name", "?"))

    @property
    def dataset(self) -> str:
        """Its name in the config."""
        return str(self.config.get("dataset.name", "?"))

    @property
    def key_metric(self) -> str | None:
        """The metric whose value on val chose the best checkpoint."""
        return self.summary.get("key_metric")

    @property
    def best(self) -> dict[str, Any]:
        """`step` of the best checkpoint and `val`, its value of the key metric."""
        best = self.summary.get("best")
        return best if isinstance(best, dict) else {}

    @property
    def best_val(self) -> float | None:
        """The best value of the key metric on val."""
        return self.best.get("val")

    def metric(self, name: str) -> Metric:
        """How the number `name` is worded, compared and printed; its method's own words first."""
        return describe(name, metrics_of(self.summary))

    def test(self, which: str) -> dict[str, float]:
        """The numbers on the test split of `which`: trivial, untrained, last or best."""
        test = self.summary.get("test")
        numbers = test.get(which) if isinstance(test, dict) else None
        return numbers if isinstance(numbers, dict) else {}

    @cached_property
    def measures(self) -> dict[Measure, float]:
        """Its numbers on test and val, last and best, without those of single parts (`kl/03`)."""
        found = {
            Measure("test", which, name): float(value)
            for which in ("best", "last")
            for name, value in self.test(which).items()
            if not is_part(name) and isinstance(value, int | float)
        }
        val = {
            name.removeprefix("val/"): points
            for name, points in self.history.items()
            if name.startswith("val/") and name.count("/") == 1
        }
        last = max((step for points in val.values() for step in points), default=None)
        for which, step in (("best", self.best.get("step")), ("last", last)):
            for name, points in val.items():
                if step in points:
                    found[Measure("val", which, name)] = points[step][1]
        return found

    def values(self) -> dict[str, Any]:
        """Everything that a filter can ask for: config keys, groups, numbers, how the run is."""
        values = dict(self.config)
        for key, value in self.config.items():  # method=byol is method.name=byol
            if key.endswith(".name"):
                values[key[:-5]] = value
        status = self.status
        values |= {
            "run": self.name,
            "folder": str(self.path),
            "status": status.state,
            "reason": self.reason,
            "step": status.step,
            "total": status.total,
            "done": status.step / max(1, status.total),
            "started": status.started or None,
        }
        for key in ("seconds", "images_per_second", "peak_memory_bytes", "key_metric"):
            values[key] = self.summary.get(key)
        if self.key_metric:
            values["val.best"] = values[f"val.{self.key_metric}"] = self.best_val
        for prefix, which in (("test.last", "last"), ("test.best", "best"), ("test", "best")):
            for name, value in self.test(which).items():
                if not is_part(name):
                    values[f"{prefix}.{name.replace('/', '.')}"] = value
        return values


@cache
def _tell(line: str) -> None:
    """Says once that a file is damaged; on standard error, unless the caller's log goes elsewhere.

    Whoever shows several runs goes on with the others.
    """
    logging.getLogger("dlrun").warning("dlrun: %s", printable(line))


def kind_order(kind: str) -> tuple[int, str]:
    """Sorts kinds of pictures: a user's own after those known here, `views` last."""
    known = kind in _PICTURES
    return (_PICTURES.index(kind) if known else len(_PICTURES) + (kind == "views")), kind


def is_part(name: str) -> bool:
    """Whether a number is of one of many parts, as `kl/03` and `group/male/recall`, which only the
    run's own files and its report list; `kid[features]/prior` is a metric like any other.
    """
    return "/" in name and "[" not in name


def by_image_group(numbers: dict[str, float]) -> dict[str, dict[str, float]]:
    """`group/NAME/KIND`, as the evaluation calls the numbers of a group of images, by both."""
    found: dict[str, dict[str, float]] = {}
    for key, value in numbers.items():
        if key.startswith("group/"):
            name, _, kind = key.removeprefix("group/").rpartition("/")
            found.setdefault(name, {})[kind] = value
    return found


def runs_below(outputs: Path) -> list[Run]:
    """Every run in or below a folder, each once, oldest first.

    A run has config.yaml and status.json, and none lies inside another. A link is followed where it
    leads to a run, as the jobs of sweeps do that share one; other links are not. What begins with a
    dot is being deleted.

    Args:
        outputs: the folder; without it there are no runs.
    """
    top, real = os.path.abspath(outputs), os.path.realpath(outputs)
    found: dict[str, int] = {}
    links: dict[str, list[Path]] = {}
    waiting = [top]
    while waiting:
        here = waiting.pop()
        try:
            if (began := _began(here)) is not None:
                found[here] = began
                continue
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        if (began := _began(target)) is not None:
                            if target.startswith(real + os.sep):
                                target = top + target[len(real) :]
                            found[target] = began
                            links.setdefault(target, []).append(Path(entry.path))
                    elif entry.is_dir():
                        waiting.append(entry.path)
        except OSError:  # not readable, or deleted at this moment
            continue
    return [
        Run(Path(path), tuple(sorted(links.get(path, ()))))
        for path in sorted(found, key=lambda path: (found[path], path))
    ]


def _began(folder: str) -> int | None:
    """When its config was written, in nanoseconds; None of a folder that is not a run."""
    try:
        os.stat(f"{folder}/status.json")
        return os.stat(f"{folder}/config.yaml").st_mtime_ns
    except OSError:
        return None
