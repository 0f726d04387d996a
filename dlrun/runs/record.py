"""A run as a row: what its small files say, read without torch, Hydra or OmegaConf."""

import re
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from dlrun.files import read_json
from dlrun.text import flatten

_PART = re.compile(r"(?<=\n)(?=[A-Za-z_])")  # between the top-level keys of a config.yaml


@dataclass(frozen=True)
class Record:
    """One run of a list."""

    path: str
    """Absolute."""
    state: str = "unknown"
    reason: str = ""
    step: int = 0
    total: int = 0
    started: float | None = None
    """Seconds since 1970."""
    config: dict[str, Any] = field(default_factory=dict)
    """Flat, such as {'optimizer.lr': 0.1}; empty where config.yaml cannot be read."""
    summary: dict[str, Any] = field(default_factory=dict)
    """summary.json without the numbers of single code dimensions; empty before a run's end."""

    @property
    def name(self) -> str:
        """The folder's."""
        return Path(self.path).name

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
        """What `best` was chosen by, on the val split."""
        return self.summary.get("key_metric")

    @property
    def best_val(self) -> float | None:
        """The best val value of the key metric."""
        best = self.summary.get("best")
        return best.get("val") if isinstance(best, dict) else None

    def test(self, which: str) -> dict[str, float]:
        """The test split's numbers of `which`: last, best, untrained or trivial."""
        test = self.summary.get("test")
        numbers = test.get(which) if isinstance(test, dict) else None
        return numbers if isinstance(numbers, dict) else {}

    def values(self) -> dict[str, Any]:
        """All that can be asked for by name: config keys, groups, figures, where it stands."""
        values = dict(self.config)
        for key, value in self.config.items():  # method=byol is method.name=byol
            group, _, last = key.rpartition(".")
            if last == "name" and group:
                values[group] = value
        values |= {
            "run": self.name,
            "folder": self.path,
            "status": self.state,
            "reason": self.reason,
            "step": self.step,
            "total": self.total,
            "done": self.step / max(1, self.total),
            "started": self.started,
        }
        for key in ("seconds", "images_per_second", "peak_memory_bytes", "key_metric"):
            values[key] = self.summary.get(key)
        if self.key_metric:
            values["val.best"] = values[f"val.{self.key_metric}"] = self.best_val
        for which in ("last", "best"):
            values |= {f"test.{which}.{name}": value for name, value in self.test(which).items()}
        return values | {f"test.{name}": value for name, value in self.test("best").items()}


def read_record(path: Path) -> Record:
    """What the folder says now; damage is told as the reason, never raised."""
    status, summary = read_json(path / "status.json"), read_json(path / "summary.json")
    record = Record(str(path), summary=_slim(summary))
    try:
        record = replace(
            record,
            state=str(status["state"]),
            reason=str(status["reason"]),
            step=int(status["step"]),
            total=int(status["total"]),
            started=float(status["started"]),
        )
    except (KeyError, TypeError, ValueError):
        record = replace(record, reason="status.json cannot be read")
    try:
        return replace(record, config=flatten(_load_yaml(path / "config.yaml")))
    except ValueError as error:
        return replace(record, reason=record.reason or str(error))


def live(record: Record) -> Record:
    """`record`, told as interrupted where it says running and its process is gone."""
    if record.state != "running":
        return record
    from dlrun.runs.folder import RunFolder
    from dlrun.runs.status import read_status

    status = read_status(RunFolder(Path(record.path)))
    return record if status is None else replace(record, state=status.state, reason=status.reason)


def _slim(summary: dict[str, Any]) -> dict[str, Any]:
    test = summary.get("test")
    if not isinstance(test, dict):
        return summary
    slim = {
        which: {name: value for name, value in numbers.items() if "/" not in name}
        for which, numbers in test.items()
        if isinstance(numbers, dict)
    }
    return {**summary, "test": slim}


def _load_yaml(path: Path) -> dict[str, Any]:
    """A run's config.

    Raises:
        ValueError: it cannot be read.
    """
    import yaml

    try:
        plain = _parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        raise ValueError(f"{path.name} cannot be read") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("method"), dict):
        raise ValueError(f"{path.name} is not the config of a run")
    return plain


def _parse(text: str) -> Any:
    """What YAML makes of a config.

    Runs have most of their groups in common, so each top-level key is read by itself, and once.
    """
    import yaml

    plain: dict[str, Any] = {}
    try:
        for part in _PART.split(text):
            plain |= _part(part)
    except (TypeError, ValueError, yaml.YAMLError):  # not written by us, or not whole
        return yaml.load(text, _loader())
    return plain


@lru_cache(maxsize=4096)
def _part(text: str) -> Any:
    import yaml

    return yaml.load(text, _loader())


@cache
def _loader() -> Any:
    """YAML's safe loader, in C where there is one (ten times as fast), with 1e-3 a number.

    YAML 1.1 wants a dot and a sign (1.0e-3); OmegaConf, which writes the file, reads both.
    """
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (base,), {})
    number = re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$")
    loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return loader
