"""Which images a folder holds, in which split, of which class."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_log = logging.getLogger("dlrun")

Entry = tuple[str, int | None]
"""A file's path, which as text is a second faster for 60,000 files, and its class."""


@dataclass(frozen=True)
class Files:
    """The images of the two splits."""

    train: list[Entry]
    test: list[Entry]
    class_names: tuple[str, ...]

    def __iter__(self) -> Iterator[Entry]:
        yield from self.train
        yield from self.test


def find_images(root: Path) -> Files:
    """Which files, in which split, of which class; sorted, so that the order is that of the names.

    Raises:
        UserError: there is no image, or train and test disagree about the classes.
    """
    folders = _folders(root)
    if "trainA" in folders and "trainB" in folders:
        return _domain_folders(root)
    has_splits = _has_splits(root, folders)
    names, train = _class_folders(root / "train" if has_splits else root)
    test: list[Entry] = []
    others = [name for name in ("test", "val") if has_splits and name in folders]
    if others:
        test_names, test = _class_folders(root / others[0])
        if test_names != names:
            raise UserError(
                f"dataset.root: the classes of train/ and {others[0]}/ differ: "
                f"{', '.join(sorted(set(names) ^ set(test_names)))}"
            )
    if len(others) == 2:
        _log.warning("%s: val/ is not read; val is held out of train/ (val_fraction)", root)
    if not train:
        raise UserError(
            f"dataset.root: no image below {root}; expected {', '.join(SUFFIXES[:6])} files"
        )
    return Files(train, test, names)


def _has_splits(root: Path, folders: list[str]) -> bool:
    """Whether train/ is the train split and not a class of that name, the kind on rails."""
    others = set(folders) - {"train"}
    return "train" in folders and (
        not others or bool(others & {"test", "val"}) or bool(_folders(root / "train"))
    )


def _domain_folders(root: Path) -> Files:
    def images(split: str) -> list[Entry]:
        folders = [root / f"{split}{domain}" for domain in "AB"]
        if split == "test" and not any(folder.is_dir() for folder in folders):
            return []
        found: list[Entry] = []
        for label, folder in enumerate(folders):
            paths = _images(folder) if folder.is_dir() else []
            if not paths:
                raise UserError(f"dataset.root: no image in {folder}")
            found += [(path, label) for path in paths]
        return found

    return Files(images("train"), images("test"), ("A", "B"))


def _class_folders(folder: Path) -> tuple[tuple[str, ...], list[Entry]]:
    loose = _images(folder, deep=False)
    classes = {name: _images(folder / name) for name in _folders(folder)}
    names = tuple(name for name, paths in classes.items() if paths)
    if not names:
        return (), [(path, None) for path in loose]
    empty = [name for name in classes if name not in names]
    if empty:
        _log.warning("%s: no image in %s, which are no classes", folder, ", ".join(empty))
    if loose:
        _log.warning("%s: left out %d images that lie in no class's folder", folder, len(loose))
    return names, [(path, label) for label, name in enumerate(names) for path in classes[name]]


def _folders(folder: Path) -> list[str]:
    names = (entry.name for entry in folder.iterdir() if entry.is_dir())
    return sorted(name for name in names if not name.startswith("."))


def _images(folder: Path, deep: bool = True) -> list[str]:
    """Sorted by folder and name; links are followed, each folder is read once."""

    def unreadable(error: OSError) -> None:
        raise UserError(f"dataset.root: {error.filename} cannot be read: {error.strerror}")

    found, seen = [], {folder.resolve()}
    for where, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        within = {Path(where, name).resolve(): name for name in folders if not name.startswith(".")}
        folders[:] = sorted(name for real, name in within.items() if deep and real not in seen)
        seen.update(within)
        found += [
            os.path.join(where, name)
            for name in sorted(names)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return found
