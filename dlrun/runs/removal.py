"""What can be deleted, how much it frees, and what speaks against it."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.runs.run import Run
from dlrun.runs.select import Selection

KINDS = ("failed", "empty", "checkpoints", "temporary")
_GRACE = 3600.0  # seconds in which a folder that was just claimed may still become a run
_DAY = 86_400.0


@dataclass(frozen=True)
class Item:
    """A run, a folder, a file or a link that would be deleted."""

    path: Path
    kind: str
    size: int
    """Bytes on the disk."""
    links: tuple[Path, ...] = ()
    """Links to it, which are deleted with it."""


def selected_items(selection: Selection, everything: Sequence[Run]) -> tuple[list[Item], list[str]]:
    """What `dlrun rm` would delete.

    A run that only a link leads to from what was named belongs to another sweep: the link is
    deleted, the run is not. A run that other sweeps have links to is deleted with these links, so
    that none is left that leads nowhere.

    Args:
        selection: the runs and where they were looked for.
        everything: all runs, with their links.

    Returns:
        The items, and a line for each run that others need.

    Raises:
        UserError: one of the runs is being trained.
    """
    all_links = {run.path.resolve(): run.links for run in everything}
    own, items, notes = [], [], []
    for run in selection.runs:
        links = tuple(sorted({*all_links.get(run.path.resolve(), ()), *run.links}))
        if any(run.path.is_relative_to(place) for place in selection.places):
            own.append((run, links))
            continue
        named = [link for link in links if any(map(link.is_relative_to, selection.places))]
        items += [Item(link, f"link to {run.folder}, which is kept", 0) for link in named]
    if busy := [run.name for run, _ in own if run.state == "running"]:
        raise UserError(f"{', '.join(busy)}: being trained right now; nothing was deleted")
    going = {run.path for run, _ in own}
    for run, links in own:
        items.append(_item(run.path, f"{run.state} run", links))
        sweeps = dict.fromkeys(
            link.parent.name
            for link in links
            if not any(link.is_relative_to(place) for place in selection.places)
        )
        if sweeps:
            notes.append(f"{run.name} is also a job of {', '.join(sweeps)}, which will lose it")
        users = [user.name for user in users_of(run, everything) if user.path not in going]
        if users:
            notes.append(f"{run.name} is named in the config of {', '.join(users[:3])}")
    return items, notes


def users_of(run: Run, others: Sequence[Run]) -> list[Run]:
    """The runs whose config names `run`, such as a student its teacher."""
    folder = str(run.path)
    return [
        other
        for other in others
        if other.path != run.path
        and any(
            value in (folder, run.name) or _is_inside(value, folder)
            for value in other.config.values()
            if isinstance(value, str)
        )
    ]


def _is_inside(value: str, folder: str) -> bool:
    return os.sep in value and f"{os.path.abspath(value)}{os.sep}".startswith(folder + os.sep)


def garbage(
    outputs: Path, runs: Sequence[Run], kinds: Sequence[str], days: float
) -> tuple[list[Item], list[str]]:
    """What `dlrun gc` would delete; never a run that is being trained.

    Args:
        outputs: the folder.
        runs: all runs below it.
        kinds: some of KINDS.
        days: age from which checkpoints of complete runs are deleted.

    Returns:
        The items, and a line for each run that is kept because another one names it.
    """
    idle = [run for run in runs if run.state != "running"]
    whole: list[tuple[Run, str]] = []
    if "failed" in kinds:
        whole += [(run, "failed run") for run in idle if run.state == "failed"]
    if "empty" in kinds:
        whole += [(run, "run without a step") for run in idle if _is_empty(run)]
    items, notes = [], []
    for run, kind in whole:
        if users := users_of(run, runs):
            notes.append(f"{run.name} is kept: the config of {users[0].name} names it")
        else:
            items.append(_item(run.path, kind, run.links))
    if "empty" in kinds:
        items += [_item(path, "empty folder") for path in _empty_folders(outputs)]
        items += [_item(path, "link to a deleted run") for path in _dead_links(outputs)]
    going = {run.path for run, _ in whole}
    for run in idle:
        if run.path in going:
            continue
        if "checkpoints" in kinds and run.is_complete and _is_old(run, days):
            items += _last_checkpoint(run)
        if "temporary" in kinds:
            items += [_item(path, "temporary file") for path in run.path.rglob(".*.tmp")]
    if "temporary" in kinds:
        items += [_item(path, "half-deleted run") for path in outputs.rglob(".removed-*")]
    return items, notes


def size_of(path: Path) -> int:
    """Bytes below `path`; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size if os.path.lexists(path) else 0
    total = 0
    for where, _, files in os.walk(path):
        total += sum(os.lstat(os.path.join(where, name)).st_size for name in files)
    return total


def _item(path: Path, kind: str, links: tuple[Path, ...] = ()) -> Item:
    return Item(path, kind, size_of(path), links)


def _is_empty(run: Run) -> bool:
    begun = run.status.step or any((run.path / "checkpoints").glob("*.pt"))
    return run.state in ("interrupted", "unknown") and not begun


def _is_old(run: Run, days: float) -> bool:
    return time.time() - run.folder.status.stat().st_mtime >= days * _DAY


def _last_checkpoint(run: Run) -> list[Item]:
    """last.pt, where there is a best.pt, which everything reads of a complete run."""
    both = run.folder.best.exists() and run.folder.last.exists()
    return [_item(run.folder.last, "last.pt of a complete run")] if both else []


def _empty_folders(outputs: Path) -> list[Path]:
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


def _dead_links(outputs: Path) -> list[Path]:
    sweeps = (outputs / "sweeps").glob("*/*")
    return [path for path in sweeps if path.is_symlink() and not path.exists()]


def remove(item: Item) -> None:
    """Deletes a run, a folder, a file or a link; a run is either listed whole or not at all.

    Raises:
        UserError: a process is training it, or it may not be deleted.
    """
    path = item.path
    try:
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        folder = RunFolder(path)
        folder.lock()  # so that no process resumes it at this moment
        try:
            path = path.rename(path.with_name(f".removed-{path.name}"))
        finally:
            folder.unlock()
        for link in item.links:
            link.unlink(missing_ok=True)
        shutil.rmtree(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be deleted ({error.strerror})") from error
