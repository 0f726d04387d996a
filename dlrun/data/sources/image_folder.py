"""The user's own images: any size, any mode, decoded once and kept.

Understands FOLDER/{train,test}/CLASS/*, FOLDER/CLASS/*, FOLDER/{trainA,trainB,testA,testB}/* and a
plain FOLDER/* without classes. Without a test part, a fraction is held out. Of an animation the
first picture is taken. Hidden files and files of other kinds are ignored.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dlrun.data.sources.attributes import Asked, Attributes, read_attributes
from dlrun.data.sources.base import DataSource, SourceConfig, Splits
from dlrun.errors import UserError
from dlrun.files import atomic
from dlrun.options import NonEmpty, Range

_CACHE_FORMAT = 3  # goes into the cache's key: raise it when decoding changes
_log = logging.getLogger("dlrun")

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
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


class ImageFolder(DataSource):
    """A folder of images."""

    licence = "the owner's"

    @dataclass(frozen=True)
    class Config(SourceConfig):
        root: str
        size: Annotated[int, Range(4, 4096)]  # pixels
        channels: Literal["auto", 1, 3]
        test_fraction: Annotated[float, Range(0, 1, low_open=True, high_open=True)]
        bad_files: Literal["error", "skip"]
        attributes: NonEmpty | None
        numbers: tuple[NonEmpty, ...]
        categories: tuple[NonEmpty, ...]
        label: NonEmpty | None

    def load(self, config: Any, data_dir: Path) -> Splits:
        """Decodes what was not decoded before, with the same options, in the same state."""
        from dlrun.data.table import Table, hold_out

        root = Path(config.root).expanduser()
        if not root.is_dir():
            raise UserError(f"dataset.root: {root} is not a folder; expected one with images in it")
        files = find_images(root)
        cache = data_dir / "image_folder" / f"{_key(root, files, config)}.pt"
        stored = _restore(cache)
        if stored is None:
            stored = _decode(files, config)
            _store(stored, cache)
        if stored["bad"]:
            _log.warning("left out: %s", stored["bad"])
        kept = [
            path for (path, _), good in zip(files, stored["kept"].tolist(), strict=True) if good
        ]
        found = Attributes()
        if config.attributes is None and config.label is not None:
            raise UserError(
                f"dataset.label: {config.label} is a column of a table, but there is none; give it "
                "with dataset.attributes=FILE.csv"
            )
        if config.attributes is not None:
            asked = Asked(config.numbers, config.categories, config.label)
            found = read_attributes(root / config.attributes, root, kept, asked)
        labels, class_names = stored["labels"] if files.class_names else None, files.class_names
        if config.label is not None:
            labels, class_names = (
                found.columns.pop(config.label),
                found.value_names.pop(config.label),
            )
        table, is_test = Table(stored["images"], labels, found.columns), stored["is_test"]
        if labels is not None and not (known := labels >= 0).all():
            table, is_test = table.subset(known.nonzero()[:, 0]), is_test[known]
        if files.test:
            train_rows, test_rows = (~is_test).nonzero()[:, 0], is_test.nonzero()[:, 0]
        else:
            train_rows, test_rows = hold_out(table.labels, len(table), config.test_fraction, "test")
        if len(train_rows) < 2 or len(test_rows) < 1:
            raise UserError(
                f"dataset.root: {root} has {len(train_rows)} readable images to train on and "
                f"{len(test_rows)} to test on, too few"
            )
        return Splits(
            table.subset(train_rows),
            table.subset(test_rows),
            class_names,
            table.checksum() if config.attributes else stored["checksum"],
            found.value_names,
            found.doubts,
            found.report,
        )


def _key(root: Path, files: Files, config: ImageFolder.Config) -> str:
    """Of the options that decide how it is decoded, and every file's name, class, size and times.

    The change time is among them because a file that is replaced may keep size and modification
    time, and the folder because two folders may hold files of the same names, sizes and times.
    """
    options = [_CACHE_FORMAT, config.size, config.channels, config.bad_files]
    digest = hashlib.sha256(json.dumps([*options, str(root.resolve())]).encode())
    for path, label in files:
        try:
            state = os.stat(path)
            times = f"{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}"
        except OSError:  # a link to nothing: decoding says so
            times = "unreadable"
        line = f"{path.removeprefix(str(root))}|{label}|{times}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _decode(files: Files, config: ImageFolder.Config) -> dict[str, Any]:
    import torch

    from dlrun.data.sources.decoding import decode
    from dlrun.data.table import Table

    entries = list(files)
    paths = [path for path, _ in entries]
    _log.info("decoding %d images to %d x %d, once", len(entries), config.size, config.size)
    images, reasons = decode(paths, config.size, 1 if config.channels == 1 else 3)
    bad = [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason]
    if bad and (config.bad_files == "error" or len(bad) == len(paths)):
        raise UserError(_name_bad(bad, len(paths)))
    labels = torch.tensor([-1 if label is None else label for _, label in entries])
    is_test = torch.arange(len(entries)) >= len(files.train)
    kept = torch.tensor([reason is None for reason in reasons])
    if bad:
        images, labels, is_test = images[kept], labels[kept], is_test[kept]
    if config.channels == "auto" and all(torch.equal(images[:, 0], images[:, c]) for c in (1, 2)):
        images = images[:, :1].contiguous()
    return {
        "images": images,
        "labels": labels,
        "is_test": is_test,
        "kept": kept,
        "bad": _name_bad(bad, len(paths)) if bad else "",
        "checksum": Table(images, labels).checksum(),
    }


def _name_bad(bad: list[tuple[str, str]], total: int) -> str:
    """All of them, as the user has to mend or delete each one."""
    head = (
        f"{len(bad)} of {total} files are not readable images "
        "(dataset.bad_files=skip leaves them out):"
    )
    lines = [f"  {path}: {reason}" for path, reason in bad]
    # A file name that is not UTF-8 cannot be printed as it is.
    return "\n".join([head, *lines]).encode(errors="backslashreplace").decode()


def _restore(cache: Path) -> dict[str, Any] | None:
    import torch

    if not cache.exists():
        return None
    try:
        stored: dict[str, Any] = torch.load(cache, weights_only=True, mmap=True)
    except Exception as error:  # cut short by a full disk or a power cut
        _log.warning("%s is damaged (%s) and is made again", cache, type(error).__name__)
        return None
    return stored


def _store(stored: dict[str, Any], cache: Path) -> None:
    import torch

    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with atomic(cache) as temporary:
            torch.save(stored, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        _log.warning("the decoded images could not be kept in %s: %s", cache.parent, error)


# --- which files, in which split, of which class ------------------------------------------------


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
    def unreadable(error: OSError) -> None:
        raise UserError(f"dataset.root: {error.filename} cannot be read: {error.strerror}")

    return images_below(folder, deep, unreadable)


def images_below(
    folder: Path | str, deep: bool = True, onerror: Callable[[OSError], None] | None = None
) -> list[str]:
    """Every image file below a folder, sorted by folder and name.

    Links are followed, and each folder is read once.

    Args:
        folder: to look in.
        deep: whether to look in its subfolders.
        onerror: called for a folder that cannot be read; None: it is passed over.
    """
    found, seen = [], {os.path.realpath(folder)}
    for where, folders, names in os.walk(folder, onerror=onerror, followlinks=True):
        subfolders = [name for name in sorted(folders) if deep and not name.startswith(".")]
        folders.clear()
        for name in subfolders:
            real = os.path.realpath(os.path.join(where, name))
            if real not in seen:
                seen.add(real)
                folders.append(name)
        found += [
            os.path.join(where, name)
            for name in sorted(names)
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return found
