"""Walking the folders: where runs are, and when their small files last changed."""

import os
from dataclasses import dataclass
from pathlib import Path

_FILES = ("config.yaml", "status.json", "summary.json")


@dataclass(frozen=True)
class Found:
    """A run's folder; `stamp` changes with any of its small files."""

    path: str
    began: int
    """When its config was written, in nanoseconds."""
    stamp: str


def scan(outputs: Path) -> list[Found]:
    """Every run below `outputs`, oldest first.

    A run has config.yaml and status.json, and none lies inside of another. What begins with a dot
    is being removed.
    """
    found: list[Found] = []
    waiting = [os.path.abspath(outputs)]
    while waiting:
        here = waiting.pop()
        folders: list[str] = []
        files: dict[str, os.DirEntry[str]] = {}
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name in _FILES:
                        files[entry.name] = entry
                    elif not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
            run = _found(here, files)
        except OSError:  # not ours to read, or removed at this moment
            continue
        if run is None:
            waiting += folders
        else:
            found.append(run)
    return sorted(found, key=lambda run: (run.began, run.path))


def _found(path: str, files: dict[str, os.DirEntry[str]]) -> Found | None:
    if "config.yaml" not in files or "status.json" not in files:
        return None
    stats = {name: entry.stat() for name, entry in files.items()}
    # Files are replaced, not written over: the inode tells two writes of the same instant apart.
    parts = [
        f"{stats[name].st_mtime_ns}.{stats[name].st_size}.{stats[name].st_ino}"
        if name in stats
        else "-"
        for name in _FILES
    ]
    return Found(path, stats["config.yaml"].st_mtime_ns, " ".join(parts))
