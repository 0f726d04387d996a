"""Features of many images, with their names and classes: a stream of batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.use.data import open_data
from dlrun.use.model import TrainedModel
from dlrun.use.stream import Read, find_files, in_a_line, printable, read_all, read_batches

_THUMBNAIL = 64  # pixels: TensorBoard puts all of them into one picture
_CODES = 250  # enough to measure mean and deviation on


@dataclass(frozen=True)
class Part:
    """Some images: features (n, D) float32, `images` uint8 (n, C, H, W), in the same order."""

    features: Tensor
    names: list[str]
    labels: list[str] | None
    images: Tensor


@dataclass
class Source:
    """Batches that are computed as they are asked for."""

    name: str
    """For a file's name."""
    count: int
    """Of images, those that cannot be read among them."""
    parts: Iterator[Part]
    unreadable: list[Read[Tensor]] = field(default_factory=list)
    """Of the batches so far."""


def of_split(model: TrainedModel, split: str) -> Source:
    """Of the data set that the run was trained on.

    Raises:
        UserError: it cannot be opened, or has no such split.
    """
    data = open_data(model)[0]
    table: Table = getattr(data, split)
    if not len(table):
        raise UserError(f"{data.name}: has no {split} split; choose another by --split")

    def parts() -> Iterator[Part]:
        for start in range(0, len(table), model.batch):
            rows = slice(start, min(start + model.batch, len(table)))
            names = [f"{data.name}/{split}/{row}" for row in range(rows.start, rows.stop)]
            labels = None
            if table.labels is not None:
                labels = [data.class_names[label] for label in table.labels[rows].tolist()]
            batch = table.images[rows]
            yield Part(model.features(batch), names, labels, batch)

    return Source(split, len(table), parts())


def of_files(model: TrainedModel, paths: list[str], advance: Callable[[int], None]) -> Source:
    """Of files; the class of an image is the folder that it is in, if there are several."""
    labelled = len({Path(path).parent.name for path in paths}) > 1
    unreadable: list[Read[Tensor]] = []

    def parts() -> Iterator[Part]:
        for batch, table in read_batches(paths, model.image_shape):
            unreadable.extend(read for read in batch if read.value is None)
            if len(table):
                good = [read.path for read in batch if read.value is not None]
                names = [in_a_line(printable(path)) for path in good]
                labels = [Path(name).parent.name for name in names] if labelled else None
                yield Part(model.features(table), names, labels, table)
            advance(len(batch))

    return Source("images", len(paths), parts(), unreadable)


def codes_of(model: TrainedModel, among: Sequence[str]) -> Tensor:
    """Codes (N, D) of some images: of those files, or of the val split where there are none.

    Raises:
        UserError: there are fewer than two, or the data set cannot be opened.
    """
    if among:
        table, unreadable = read_all(find_files(among)[:_CODES], model.image_shape)
        if len(table) < 2:
            raise UserError(
                f"--among: got {len(table)} images and {len(unreadable)} unreadable files, "
                "expected 2 images or more"
            )
        return model.features(table)
    data = open_data(model)[0]
    held_out = data.val if len(data.val) else data.test
    return model.features(held_out.images[:_CODES])


class Sample:
    """At most `limit` of the `count` images of a stream, evenly spread, as thumbnails."""

    def __init__(self, count: int, limit: int) -> None:
        self.count, self.limit, self.seen = count, min(limit, count), 0
        self.parts: list[Part] = []

    def watch(self, parts: Iterator[Part]) -> Iterator[Part]:
        """The same parts; some of their rows are kept."""
        for part in parts:
            rows = [row for row in range(len(part.names)) if self._is_kept(self.seen + row)]
            self.seen += len(part.names)
            if rows:
                labels = None if part.labels is None else [part.labels[row] for row in rows]
                names = [part.names[row] for row in rows]
                thumbnails = _thumbnails(part.images[rows])
                self.parts.append(Part(part.features[rows], names, labels, thumbnails))
            yield part

    def whole(self) -> Part:
        """What was kept, as one."""
        parts, labelled = self.parts, self.parts[0].labels is not None
        return Part(
            torch.cat([part.features for part in parts]),
            [name for part in parts for name in part.names],
            [label for part in parts for label in part.labels or ()] if labelled else None,
            torch.cat([part.images for part in parts]),
        )

    def _is_kept(self, index: int) -> bool:
        return (index + 1) * self.limit // self.count > index * self.limit // self.count


def _thumbnails(batch: Tensor) -> Tensor:
    """Copies of uint8 images, at most 64 pixels on each side."""
    height, width = batch.shape[2:]
    scale = _THUMBNAIL / max(height, width)
    if scale >= 1:
        return batch.clone()
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(batch.float(), size, mode="area").round().byte()
