"""The user's own images: any size, any mode, decoded once and kept.

Understands FOLDER/{train,test}/CLASS/*, FOLDER/CLASS/*, FOLDER/{trainA,trainB,testA,testB}/* and a
plain FOLDER/* without classes. Without a test part, a fraction is held out. Of an animation the
first picture is taken. Hidden files and files of other kinds are ignored.
"""

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dlrun.data.sources.attributes import ValueNames, read_attributes
from dlrun.data.sources.base import DataSource, SourceConfig, Splits
from dlrun.data.sources.layout import Files, find_images
from dlrun.errors import UserError
from dlrun.files import atomic
from dlrun.options import NonEmpty, Range

if TYPE_CHECKING:
    from torch import Tensor

_CACHE_FORMAT = 3  # goes into the cache's key: raise it when decoding changes
_log = logging.getLogger("dlrun")


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

    def load(self, config: Any, data_dir: Path) -> Splits:
        """Decodes what was not decoded before, with the same options, in the same state."""
        from dlrun.data.split import hold_out
        from dlrun.data.table import Table

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
        attributes: dict[str, Tensor] = {}
        value_names: ValueNames = {}
        if config.attributes is not None:
            attributes, value_names = read_attributes(root / config.attributes, root, kept)
        labels = stored["labels"] if files.class_names else None
        table = Table(stored["images"], labels, attributes)
        is_test = stored["is_test"]
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
            files.class_names,
            table.checksum() if attributes else stored["checksum"],
            value_names,
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
