"""What can be deleted, how much it frees, and what speaks against it."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.runs.record import Record

KINDS = ("failed", "empty", "checkpoints", "temporary")
_GRACE = 3600.0  # seconds in which a folder that was just claimed may still become a run
_DAY = 86_400.0


@dataclass(frozen=True)
class Item:
    """A run, a folder or a file that would go."""

    path: Path
    kind: str
    size: int
    """Bytes on the disk."""


def size_of(path: Path) -> int:
    """Bytes below `path`; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size if os.path.lexists(path) else 0
    total = 0
    for where, _, files in os.walk(path):
        total += sum(os.lstat(os.path.join(where, name)).st_size for name in files)
    return total


def users_of(run: Record, others: Sequence[Record]) -> list[Record]:
    """The runs whose config names `run`, such as a student its teacher."""
    inside = run.path.rstrip(os.sep) + os.sep
    return [
        other
        for other in others
        if other.path != run.path
        and any(
            value in (run.path, run.name) or _lies_in(value, inside)
            for value in other.config.values()
            if isinstance(value, str)
        )
    ]


def _lies_in(value: str, folder: str) -> bool:
    return os.sep in value and f"{os.path.abspath(value)}{os.sep}".startswith(folder)


def garbage(outputs: Path, runs: Sequence[Record], kinds: Sequence[str], days: float) -> list[Item]:
    """What `dlrun gc` would delete; never of a run that a process is training."""
    idle = [run for run in runs if run.state != "running"]
    items = []
    if "failed" in kinds:
        items += [_item(run.path, "failed run") for run in idle if run.state == "failed"]
    going = {item.path for item in items}
    if "empty" in kinds:
        items += [_item(path, "empty folder") for path in _empty(outputs)]
        items += [
            _item(run.path, "run without a step")
            for run in idle
            if run.state in ("interrupted", "unknown") and not run.step and not _has_checkpoint(run)
        ]
    going |= {item.path for item in items}
    for run in idle:
        if Path(run.path) in going:
            continue
        if "checkpoints" in kinds and run.state == "completed" and _is_old(run, days):
            items += _last_checkpoint(run)
        if "temporary" in kinds:
            items += [_item(path, "temporary file") for path in Path(run.path).rglob(".*.tmp")]
    if "temporary" in kinds:
        items += [_item(path, "half-deleted run") for path in outputs.rglob(".removed-*")]
    return items


def _item(path: Path | str, kind: str) -> Item:
    return Item(Path(path), kind, size_of(Path(path)))


def _has_checkpoint(run: Record) -> bool:
    return any((Path(run.path) / "checkpoints").glob("*.pt"))


def _is_old(run: Record, days: float) -> bool:
    status = Path(run.path) / "status.json"
    return status.exists() and time.time() - status.stat().st_mtime >= days * _DAY


def _last_checkpoint(run: Record) -> list[Item]:
    """last.pt, of a complete run whose best.pt is what everything reads."""
    folder = RunFolder(Path(run.path))
    both = folder.best.exists() and folder.last.exists()
    return [_item(folder.last, "last.pt of a complete run")] if both else []


def _empty(outputs: Path) -> list[Path]:
    """Folders that were claimed for a run which never wrote its config."""
    found = []
    for where, folders, files in os.walk(outputs):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if "config.yaml" in files:
            folders.clear()
        elif not folders and not set(files) - {".lock"} and Path(where) != outputs:
            age = time.time() - os.stat(where).st_mtime
            if age >= _GRACE and not RunFolder(Path(where)).in_use():
                found.append(Path(where))
    return found


def remove(path: Path) -> None:
    """Deletes a run, a folder or a file; of a run either all of it is there or none is listed.

    Raises:
        UserError: a process is training it, or it may not be deleted.
    """
    try:
        if not path.is_dir():
            path.unlink()
            return
        folder = RunFolder(path)
        folder.lock()  # so that no process takes it up at this moment
        try:
            hidden = path.with_name(f".removed-{path.name}")
            path = path.rename(hidden)
        finally:
            folder.unlock()
        shutil.rmtree(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be deleted ({error.strerror})") from error
