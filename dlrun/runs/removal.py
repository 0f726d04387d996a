"""What can be deleted, how much it frees, and what speaks against it."""

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.runs.run import Run
from dlrun.runs.select import Selection

KINDS = ("failed", "empty", "checkpoints", "temporary", "decoded")
_GRACE = 3600.0  # seconds in which a folder that was just claimed may still become a run
_DAY = 86_400.0


@dataclass(frozen=True)
class Item:
    """A run, a folder, a file or a link that would be deleted."""

    path: Path
    kind: str
    links: tuple[Path, ...] = ()
    """Links to it, which are deleted with it."""

    @cached_property
    def size(self) -> int:
        """Bytes on the disk; links are not followed."""
        if not self.path.is_dir() or self.path.is_symlink():
            return os.lstat(self.path).st_size
        walk = os.walk(self.path)
        return sum(
            os.lstat(f"{where}/{name}").st_size for where, _, names in walk for name in names
        )


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

    def named(path: Path) -> bool:
        return any(path.is_relative_to(place) for place in selection.places)

    all_links = {run.path.resolve(): run.links for run in everything}
    links = {
        run.path: tuple(sorted({*all_links.get(run.path.resolve(), ()), *run.links}))
        for run in selection.runs
    }
    own = [run for run in selection.runs if named(run.path)]
    if busy := [run.name for run in own if run.state == "running"]:
        raise UserError(f"{', '.join(busy)}: being trained right now; nothing was deleted")
    items = [
        Item(link, f"link to {run.folder}, which is kept")
        for run in selection.runs
        if not named(run.path)
        for link in filter(named, links[run.path])
    ]
    items += [Item(run.path, f"{run.state} run", links[run.path]) for run in own]
    notes, deleted = [], {run.path for run in own}
    for run in own:
        sweeps = dict.fromkeys(link.parent.name for link in links[run.path] if not named(link))
        if sweeps:
            notes.append(f"{run.name} is also a job of {', '.join(sweeps)}, which will lose it")
        users = [user.name for user in users_of(run, everything) if user.path not in deleted]
        if users:
            notes.append(f"{run.name} is named in the config of {', '.join(users[:3])}")
    return items, notes


def users_of(run: Run, others: Sequence[Run]) -> list[Run]:
    """The runs whose config names `run`, such as a student its teacher."""
    folder = str(run.path)

    def names_it(value: object) -> bool:
        if not isinstance(value, str):
            return False
        is_path = os.sep in value
        inside = is_path and f"{os.path.abspath(value)}{os.sep}".startswith(folder + os.sep)
        return inside or value == run.name

    return [
        other
        for other in others
        if other.path != run.path and any(map(names_it, other.config.values()))
    ]


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
    items, notes = [], []
    for run in runs:
        whole = None
        if "failed" in kinds and run.state == "failed":
            whole = "failed run"
        elif "empty" in kinds and _is_empty(run):
            whole = "run without a step"
        if whole and (users := users_of(run, runs)):
            notes.append(f"{run.name} is kept: the config of {users[0].name} names it")
        elif whole:
            items.append(Item(run.path, whole, run.links))
        elif run.state != "running":
            if "checkpoints" in kinds and run.is_complete and _is_old(run, days):
                items += _last_checkpoint(run)
            if "temporary" in kinds:
                items += [Item(path, "temporary file") for path in run.path.rglob(".*.tmp")]
    if "empty" in kinds:
        items += [Item(path, "empty folder") for path in _empty_folders(outputs)]
        links = [path for path in (outputs / "sweeps").glob("*/*") if path.is_symlink()]
        items += [Item(path, "link to a deleted run") for path in links if not path.exists()]
    if "temporary" in kinds:
        items += [Item(path, "half-deleted run") for path in outputs.rglob(".removed-*")]
    return items, notes


def _is_empty(run: Run) -> bool:
    # Where status.json is damaged its step is not known: any result is one.
    results = (run.folder.metrics, run.folder.summary, *(run.path / "checkpoints").glob("*.pt"))
    begun = run.status.step or any(path.exists() and path.stat().st_size for path in results)
    return run.state in ("interrupted", "lost", "unknown") and not begun


def _is_old(run: Run, days: float) -> bool:
    return time.time() - run.folder.status.stat().st_mtime >= days * _DAY


def _last_checkpoint(run: Run) -> list[Item]:
    """last.pt, unless it is the only checkpoint: a complete run is read from best.pt."""
    both = run.folder.best.exists() and run.folder.last.exists()
    return [Item(run.folder.last, "last.pt of a complete run")] if both else []


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
