"""The user's own images: any size, any mode, decoded once and kept.

`layout` says which files are read. Without a test part, a fraction is held out. Of an animation the
first picture is taken.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dlrun.data.sources.attributes import Asked, Attributes, read_attributes
from dlrun.data.sources.base import DataSource, SourceConfig, Splits
from dlrun.data.sources.decoded import How, kept, read_contents, restored
from dlrun.data.sources.layout import Files, find_images
from dlrun.errors import UserError
from dlrun.files import free_memory
from dlrun.options import FilePath, NonEmpty, Range
from dlrun.text import printable, readable_size

if TYPE_CHECKING:
    from torch import Tensor

    from dlrun.data.table import Table
_log = logging.getLogger("dlrun")
_MOST_NAMED = 20  # unreadable files, at every start


class ImageFolder(DataSource):
    """A folder of images."""

    licence = "the owner's"

    @dataclass(frozen=True)
    class Config(SourceConfig):
        root: FilePath
        size: Annotated[int, Range(4, 4096)]  # pixels
        channels: Literal["auto", 1, 3]
        bits: Annotated[int, Range(1, 16)] | Literal["auto"]
        test_fraction: Annotated[float, Range(0, 1, low_open=True, high_open=True)]
        bad_files: Literal["error", "skip"]
        attributes: FilePath | None
        numbers: tuple[NonEmpty, ...]
        categories: tuple[NonEmpty, ...]
        label: NonEmpty | None

    def load(self, config: Any, data_dir: Path) -> Splits:
        """Decodes what was not decoded before, with the same options, in the same state."""
        root = Path(config.root)
        if not root.is_dir():
            raise UserError(
                f"dataset.root: {printable(str(root))} is not a folder; expected one with images "
                "in it"
            )
        files = find_images(root, config.attributes)
        pixels = _read(root, [path for path, _ in files], config, data_dir / "image_folder")
        rows = _readable(files, pixels)
        notes = [*files.notes, *pixels.notes]
        class_names, found = files.class_names, Attributes()
        if config.attributes is None and config.label is not None:
            raise UserError(
                f"dataset.label: {config.label} is a column of a table, but there is none; give it "
                "with dataset.attributes=FILE.csv"
            )
        if config.attributes is not None:
            asked = Asked(config.numbers, config.categories, config.label)
            paths = [row.path for part in rows.values() for row in part]
            found = read_attributes(root / config.attributes, root, paths, asked)
            notes += found.report
        if config.label is not None:
            class_names = found.value_names.pop(config.label)
            rows = _relabelled(rows, found.columns.pop(config.label).tolist())
        _without_unwanted(rows, files, config, notes)
        class_names = _without_empty(class_names, rows, notes)
        _hold_out_test(rows, config.test_fraction)
        if len(rows["train"]) < 2 or not rows["test"]:
            raise UserError(
                f"dataset.root: {printable(str(root))} has {len(rows['train'])} readable images to "
                f"train on and {len(rows['test'])} to test on, too few"
            )
        notes += _twins(root, rows)
        tables = {split: _table(pixels, part, found.columns) for split, part in rows.items()}
        return Splits(
            tables["train"],
            tables["test"],
            class_names,
            _checksum(pixels.checksum, rows, tables),
            found.value_names,
            found.doubts,
            tuple(notes),
            tables["val"] if rows["val"] else None,
            "test" not in files.places,
            pixels.bits,
            files.places,
            str(files.left_out),
        )


@dataclass(frozen=True)
class Row:
    """An image that is read: its file, its class, and where its pixels and attributes stand."""

    path: str
    label: int | None
    digest: str
    place: int
    number: int


@dataclass(frozen=True)
class Pixels:
    """The decoded images (N, C, H, W) of different content, and where each file's are."""

    images: "Tensor"
    checksum: str
    bits: int
    digests: list[str]
    places: list[int]
    unreadable: frozenset[str]
    notes: list[str]


def _read(root: Path, paths: list[str], config: ImageFolder.Config, cache: Path) -> Pixels:
    """The pixels of files, as they are kept or decoded. Raises UserError where one is damaged."""
    contents = read_contents(root, paths, cache)
    firsts = {
        digest: path for path, digest in zip(paths[::-1], contents.digests[::-1], strict=True)
    }
    ordered = list(dict.fromkeys(contents.digests))
    channels = None if config.channels == "auto" else config.channels
    how = How(config.size, channels, None if config.bits == "auto" else config.bits)
    _demand_memory(len(ordered), how)
    stored = restored(cache, contents, how)
    if stored is None or (any(stored["reasons"]) and config.bad_files == "error"):
        stored = _decode([firsts[digest] for digest in ordered], how)
        if config.bad_files == "skip" or not any(stored["reasons"]):
            stored = kept(cache, contents, how, stored)
    numbers = {digest: number for number, digest in enumerate(ordered)}
    places = [numbers[digest] for digest in contents.digests]
    reasons = stored["reasons"]
    bad = [(p, reasons[place]) for p, place in zip(paths, places, strict=True) if reasons[place]]
    if bad and (config.bad_files == "error" or len(bad) == len(paths)):
        raise UserError(_name_bad(bad, len(paths)))
    notes = [f"left out: {_name_bad(bad, len(paths), _MOST_NAMED)}"] if bad else []
    if stored["bits"] != 16:
        notes.append(
            f"images of 16 bits are read as {stored['bits']} bits, 0 to {2 ** stored['bits'] - 1} "
            "(dataset.bits)"
        )
    return Pixels(
        stored["images"], stored["checksum"], stored["bits"], contents.digests, places,
        frozenset(path for path, _ in bad), notes,
    )  # fmt: skip


def _demand_memory(images: int, how: How) -> None:
    """Before hours of decoding. Raises UserError."""
    channels = how.channels or 3
    needed = 2 * images * channels * how.size**2  # test and then val are split off by copying
    free = free_memory()
    if needed > free:
        fits = int(how.size * (free / needed) ** 0.5)
        raise UserError(
            f"dataset.size: {images:,} images of {channels} x {how.size} x {how.size} need "
            f"{readable_size(needed)} of memory and {readable_size(free)} are free; set a smaller "
            f"size, such as {max(4, fits - fits % 8)}, or use fewer images"
        )


def _decode(paths: list[str], how: How) -> dict[str, Any]:
    import torch

    from dlrun.data.sources.decoding import decode
    from dlrun.data.table import Table

    _log.info("decoding %d images to %d x %d, once", len(paths), how.size, how.size)
    images, reasons, bits = decode(paths, how.size, how.channels or 3, how.bits)
    if how.channels is None and all(torch.equal(images[:, 0], images[:, c]) for c in (1, 2)):
        images = images[:, :1].contiguous()
    checksum = Table(images, None).checksum()
    return {"images": images, "reasons": reasons, "bits": bits, "checksum": checksum}


Rows = dict[str, list[Row]]
"""The images of train, val and test."""


def _readable(files: Files, pixels: Pixels) -> Rows:
    facts = iter(zip(pixels.digests, pixels.places, strict=True))
    number, rows = count(), Rows()
    for split, part in (("train", files.train), ("val", files.val), ("test", files.test)):
        entries = zip(part, islice(facts, len(part)), strict=True)
        rows[split] = [
            Row(path, label, digest, place, next(number))
            for (path, label), (digest, place) in entries
            if path not in pixels.unreadable
        ]
    return rows


def _relabelled(rows: Rows, labels: list[int]) -> Rows:
    """With other classes, without the images of none."""
    return {
        split: [replace(row, label=labels[row.number]) for row in part if labels[row.number] >= 0]
        for split, part in rows.items()
    }


def _without_unwanted(
    rows: Rows, files: Files, config: ImageFolder.Config, notes: list[str]
) -> None:
    """Without the val split, if none is wanted."""
    if rows["val"] and not config.val_fraction:
        notes.append(f"{files.places.pop('val')} is not read, as dataset.val_fraction is 0")
        files.left_out.images += len(rows["val"])
        rows["val"] = []


def _hold_out_test(rows: Rows, fraction: float) -> None:
    """Of train, where the folder has no test split."""
    import torch

    from dlrun.data.table import hold_out

    train = rows["train"]
    if train and not rows["test"]:
        labelled = train[0].label is not None
        labels = torch.tensor([row.label for row in train]) if labelled else None
        stays, held = hold_out(labels, len(train), fraction, "test")
        rows["train"], rows["test"] = ([train[i] for i in part.tolist()] for part in (stays, held))


def _without_empty(class_names: tuple[str, ...], rows: Rows, notes: list[str]) -> tuple[str, ...]:
    """The classes that still have an image to train on; the rows get their new numbers."""
    left = sorted({row.label for row in rows["train"] if row.label is not None})
    if len(left) == len(class_names):
        return class_names
    gone = ", ".join(name for number, name in enumerate(class_names) if number not in left)
    notes.append(f"no readable image of {gone} to train on, which is no class")
    numbers = {old: new for new, old in enumerate(left)}
    for split, part in rows.items():
        kept = [row for row in part if row.label in numbers]
        rows[split] = [replace(row, label=numbers[row.label or 0]) for row in kept]
    return tuple(class_names[number] for number in left)


def _twins(root: Path, rows: Rows) -> list[str]:
    """Files of the same content: copies and links."""
    times = Counter(row.digest for part in rows.values() for row in part)
    same: dict[str, list[tuple[str, Row]]] = defaultdict(list)
    for split, part in rows.items():
        for row in part:
            if times[row.digest] > 1:
                same[row.digest].append((split, row))
    groups = [*same.values()]
    if not groups:
        return []

    def told(chosen: list[list[tuple[str, Row]]]) -> str:
        first = [printable(row.path[len(str(root)) + 1 :]) for _, row in chosen[0][:2]]
        return f"such as {' and '.join(first)}"

    extra = sum(len(group) for group in groups) - len(groups)
    notes = [f"{_images_are(extra)} byte for byte another one, {told(groups)}"]
    leaks = [group for group in groups if len({split for split, _ in group}) > 1]
    if leaks:
        number = sum(split != "train" for group in leaks for split, _ in group)
        notes.append(
            f"{_images_are(number)} in val or test and in another split, so its figures are too "
            f"good: {told([[*{split: (split, row) for split, row in leaks[0]}.values()]])}"
        )
    mixed = [group for group in groups if len({row.label for _, row in group}) > 1]
    if mixed:
        pair = [*{row.label: (split, row) for split, row in mixed[0]}.values()]
        notes.append(f"{_images_are(len(mixed))} in more than one class, {told([pair])}")
    return notes


def _images_are(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def _table(pixels: Pixels, rows: list[Row], columns: "dict[str, Tensor]") -> "Table":
    import torch

    from dlrun.data.table import Table

    numbers = torch.tensor([row.number for row in rows], dtype=torch.int64)
    places = torch.tensor([row.place for row in rows], dtype=torch.int64)
    labels = [row.label for row in rows]
    return Table(
        pixels.images[places],
        None if None in labels else torch.tensor(labels, dtype=torch.int64),
        {name: column[numbers] for name, column in columns.items()},
    )


def _checksum(pixels: str, rows: Rows, tables: "dict[str, Table]") -> str:
    """Of pixels, labels and attributes of all splits, without reading the pixels again."""
    digest = hashlib.sha256(pixels.encode())
    for split, part in rows.items():
        digest.update(f"{split} {[(row.place, row.label) for row in part]}".encode())
        for name, column in sorted(tables[split].attributes.items()):
            digest.update(name.encode("utf-8", "replace"))
            digest.update(column.contiguous().numpy().data)
    return digest.hexdigest()


def _name_bad(bad: Sequence[tuple[str, str]], total: int, most: int | None = None) -> str:
    """All of them, as the user has to mend or delete each one, or the first."""
    head = (
        f"{len(bad)} of {total} files are not readable images "
        "(dataset.bad_files=skip leaves them out):"
    )
    lines = [f"  {printable(path)}: {printable(reason)}" for path, reason in bad[:most]]
    if len(lines) < len(bad):
        lines.append(f"  and {len(bad) - len(lines):,} more")
    return "\n".join([head, *lines])
