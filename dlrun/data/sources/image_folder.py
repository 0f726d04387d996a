"""The user's own images: any size, any mode, decoded once and kept.

Understands FOLDER/{train,test}/CLASS/*, FOLDER/CLASS/*, FOLDER/{trainA,trainB,testA,testB}/* and a
plain FOLDER/* without classes. Where there is no test part, a share is held out.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dlrun.data.sources.base import DataSource, SourceConfig, Splits
from dlrun.errors import UserError
from dlrun.options import Range

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_CACHE_FORMAT = 1  # goes into the cache's key: raise it when decoding changes
_log = logging.getLogger("dlrun")
_SHOWN = 10  # unreadable files named before "and so many more"


@dataclass(frozen=True)
class _Files:
    """Image paths of the two splits, each with its class or None."""

    train: list[tuple[Path, int | None]]
    test: list[tuple[Path, int | None]]
    class_names: tuple[str, ...]

    def __iter__(self) -> Iterator[tuple[Path, int | None]]:
        yield from self.train
        yield from self.test


class ImageFolder(DataSource):
    """A folder of images."""

    @dataclass(frozen=True)
    class Config(SourceConfig):
        root: str
        size: Annotated[int, Range(4, 4096)]  # pixels
        channels: Literal["auto", 1, 3]
        test_fraction: Annotated[float, Range(0, 1, low_open=True, high_open=True)]
        bad_files: Literal["error", "skip"]

    def load(self, config: Any, data_dir: Path) -> Splits:
        """Decodes what was not decoded before, with the same options, in the same state."""
        import torch

        from dlrun.data.split import hold_out
        from dlrun.data.table import Table

        root = Path(config.root).expanduser()
        if not root.is_dir():
            raise UserError(f"dataset.root: {root} is no folder; expected one with images in it")
        files = find_images(root)
        cache = data_dir / "image_folder" / f"{_key(root, files, config)}.pt"
        if cache.exists():
            stored = torch.load(cache, weights_only=True, mmap=True)
        else:
            stored = _decode_all(files, config)
            _store(stored, cache)
        images, labels, is_test = stored["images"], stored["labels"], stored["is_test"]
        table = Table(images, labels if files.class_names else None)
        if files.test:
            train_rows, test_rows = (~is_test).nonzero()[:, 0], is_test.nonzero()[:, 0]
        else:
            train_rows, test_rows = hold_out(table.labels, len(table), config.test_fraction, "test")
        if len(train_rows) < 2 or len(test_rows) < 1:
            raise UserError(f"dataset.root: {root} has {len(table)} readable images, too few to split")
        return Splits(
            table.subset(train_rows), table.subset(test_rows), files.class_names, stored["checksum"]
        )


def find_images(root: Path) -> _Files:
    """Which files, in which split, of which class; sorted, so that the order is that of the names.

    Raises:
        UserError: there is no image, or train and test disagree about the classes.
    """
    if (root / "trainA").is_dir() and (root / "trainB").is_dir():
        return _domain_folders(root)
    if (root / "train").is_dir():
        names, train = _class_folders(root / "train")
        test_root = root / "test" if (root / "test").is_dir() else root / "val"
        test_names, test = _class_folders(test_root) if test_root.is_dir() else (names, [])
        if test_names != names:
            raise UserError(
                f"dataset.root: the classes of train/ and {test_root.name}/ differ: "
                f"{', '.join(sorted(set(names) ^ set(test_names)))}"
            )
    else:
        (names, train), test = _class_folders(root), []
    if not train:
        raise UserError(f"dataset.root: no image below {root}; expected {', '.join(_SUFFIXES[:6])} files")
    return _Files(train, test, names)


def _domain_folders(root: Path) -> _Files:
    def images(split: str) -> list[tuple[Path, int | None]]:
        found: list[tuple[Path, int | None]] = []
        for label, domain in enumerate("AB"):
            folder = root / f"{split}{domain}"
            found += [(path, label) for path in _images(folder)] if folder.is_dir() else []
        return found

    train = images("train")
    for label, domain in enumerate("AB"):
        if not any(entry[1] == label for entry in train):
            raise UserError(f"dataset.root: no image in {root / f'train{domain}'}")
    return _Files(train, images("test"), ("A", "B"))


def _class_folders(folder: Path) -> tuple[tuple[str, ...], list[tuple[Path, int | None]]]:
    classes = {path.name: _images(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    classes = {name: paths for name, paths in classes.items() if paths and not name.startswith(".")}
    if not classes:
        return (), [(path, None) for path in _images(folder)]
    names = tuple(classes)
    return names, [(path, names.index(name)) for name in names for path in classes[name]]


def _images(folder: Path) -> list[Path]:
    found = []
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(where) / name for name in sorted(names) if name.lower().endswith(_SUFFIXES)]
    return found


def _key(root: Path, files: _Files, config: ImageFolder.Config) -> str:
    """Of every file's name, size and time and of the options that decide how it is decoded."""
    digest = hashlib.sha256(json.dumps([_CACHE_FORMAT, config.size, config.channels, config.bad_files]).encode())
    for path, label in files:
        state = path.stat()
        line = f"{path.relative_to(root)}|{state.st_size}|{state.st_mtime_ns}|{label}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def _decode_all(files: _Files, config: ImageFolder.Config) -> dict[str, Any]:
    import torch

    from dlrun.data.table import Table

    entries = list(files)
    _log.info("decoding %d images to %d x %d, once", len(entries), config.size, config.size)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL releases the GIL while it decodes
        decoded = list(pool.map(lambda entry: _decode(entry[0], config.size), entries))
    bad = [(path, str(image)) for (path, _), image in zip(entries, decoded, strict=True) if isinstance(image, Exception)]
    if bad and config.bad_files == "error":
        raise UserError(_name_bad(bad, len(entries)))
    kept = [i for i, image in enumerate(decoded) if not isinstance(image, Exception)]
    if not kept:
        raise UserError(_name_bad(bad, len(entries)))
    if bad:
        _log.warning("left out: %s", _name_bad(bad, len(entries)))
    grey = all(decoded[i].mode == "L" for i in kept)
    channels = config.channels if config.channels != "auto" else (1 if grey else 3)
    images = torch.empty(len(kept), channels, config.size, config.size, dtype=torch.uint8)
    for row, i in enumerate(kept):
        pixels = decoded[i].convert("L" if channels == 1 else "RGB").tobytes()
        image = torch.frombuffer(bytearray(pixels), dtype=torch.uint8)
        images[row] = image.view(config.size, config.size, channels).permute(2, 0, 1)
    labels = torch.tensor([-1 if entries[i][1] is None else entries[i][1] for i in kept])
    is_test = torch.tensor([i >= len(files.train) for i in kept])
    checksum = Table(images, labels).checksum()
    return {"images": images, "labels": labels, "is_test": is_test, "checksum": checksum}


def _decode(path: Path, size: int) -> Any:
    """A PIL image of mode L or RGB, size x size, or the exception that says why not."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
            image = _flatten_mode(image)
            return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    except Exception as error:
        return error


def _flatten_mode(image: Any) -> Any:
    """Any PIL mode to L or RGB: 16 bits scaled, transparency laid over white."""
    from PIL import Image

    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        return image.point(lambda value: value / 257).convert("L")
    if image.mode == "F":
        raise ValueError("a float image has no stated range")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("L" if image.mode in ("L", "1") else "RGB")


def _name_bad(bad: list[tuple[Path, str]], total: int) -> str:
    shown = [f"  {path}: {reason.replace(str(path), '').strip()[:100]}" for path, reason in bad[:_SHOWN]]
    more = [f"  and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
    head = f"{len(bad)} of {total} files are not readable images (dataset.bad_files=skip leaves them out):"
    return "\n".join([head, *shown, *more])


def _store(stored: dict[str, Any], cache: Path) -> None:
    import torch

    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = cache.with_suffix(f".{os.getpid()}.tmp")
    torch.save(stored, temporary)
    os.replace(temporary, cache)
