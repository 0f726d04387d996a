"""A run as the report sees it: everything of the folder but the weights, read once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.files import read_json, read_jsonl
from dlrun.runs.folder import RunFolder
from dlrun.runs.status import Status, read_status
from dlrun.text import flatten, show

_ORDER = (
    "reconstructions", "translations", "predictions", "samples", "samples_mixture", "traversals",
    "interpolations", "neighbours",
)  # fmt: skip
TESTED = ("trivial", "untrained", "last", "best")


@dataclass(frozen=True)
class Run:
    """Its files' content. What is missing is empty: a run may not have come that far."""

    name: str
    path: Path
    config: dict[str, str]
    """Flat, values as they would be typed."""
    status: Status | None
    summary: dict[str, Any]
    provenance: dict[str, Any]
    commands: list[str]
    rows: list[dict[str, Any]]
    """Of metrics.jsonl."""
    pictures: dict[str, list[tuple[int, Path]]]
    """samples/KIND-STEP.png by kind, by step."""

    @property
    def state(self) -> str:
        """running, completed, pruned, interrupted, failed or unknown."""
        return self.status.state if self.status else "unknown"

    @property
    def key_metric(self) -> str | None:
        """By which it chose its best weights."""
        return self.summary.get("key_metric")

    def test(self, column: str) -> dict[str, float]:
        """Its numbers on the test split: of `trivial`, `untrained`, `last` or `best`."""
        found: dict[str, float] = self.summary.get("test", {}).get(column, {})
        return found

    def last_values(self) -> dict[str, tuple[int, float]]:
        """The newest value of each curve, `train/loss`, and its step."""
        found: dict[str, tuple[int, float]] = {}
        for row in self.rows:
            found |= {name: (row["step"], v) for name, v in row.items() if "/" in name}
        return found


def read_run(folder: RunFolder) -> Run:
    """Reads one folder.

    Raises:
        UserError: its config is damaged.
    """
    commands = folder.commands
    return Run(
        name=folder.name,
        path=folder.path,
        config={key: show(value) for key, value in flatten(folder.read_config()).items()},
        status=read_status(folder),
        summary=read_json(folder.summary),
        provenance=read_json(folder.provenance),
        commands=commands.read_text(encoding="utf-8").splitlines() if commands.exists() else [],
        rows=read_jsonl(folder.metrics),
        pictures=_pictures(folder.samples),
    )


def _pictures(samples: Path) -> dict[str, list[tuple[int, Path]]]:
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in samples.glob("*.png"):
        kind, _, step = path.stem.rpartition("-")
        if kind and step.isdecimal():
            found.setdefault(kind, []).append((int(step), path))
    return {kind: sorted(found[kind]) for kind in sorted(found, key=order)}


def order(kind: str) -> tuple[int, str]:
    """What a person looks for first; a user's own kinds, then what the network was shown, last."""
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER) + (kind == "views"), kind
