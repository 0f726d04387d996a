"""Features of many images, with their names and classes: a stream of batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.data.sources.decoding import decode_file
from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.use.files import in_a_line, printable, stream
from dlrun.use.judging import open_for
from dlrun.use.model import TrainedModel

_THUMBNAIL = 64  # pixels: TensorBoard lays all of them into one picture


@dataclass(frozen=True)
class Part:
    """Some images: features (n, D) float32, `images` uint8 (n, C, H, W), in the same order."""

    features: Tensor
    names: list[str]
    labels: list[str] | None
    images: Tensor


@dataclass
class Source:
    """Batches that are made as they are asked for."""

    name: str
    """For a file's name."""
    count: int
    """Of images, those that cannot be read among them."""
    parts: Iterator[Part]
    bad: list[tuple[str, str]] = field(default_factory=list)
    """What could not be read so far, and why."""


def of_split(model: TrainedModel, split: str) -> Source:
    """Of the data set that the run was trained on.

    Raises:
        UserError: it cannot be had, or has no such split.
    """
    data = open_for(model, model.config["dataset"], (), model.config.get("data_dir"))
    table: Table = getattr(data, split)
    if not len(table):
        raise UserError(f"{data.name}: has no {split} split; give --split, or images")

    def parts() -> Iterator[Part]:
        for start in range(0, len(table), model.batch):
            rows = slice(start, min(start + model.batch, len(table)))
            names = [f"{data.name}/{split}/{row}" for row in range(rows.start, rows.stop)]
            labels = None
            if table.labels is not None:
                labels = [data.class_names[label] for label in table.labels[rows].tolist()]
            images = table.images[rows]
            yield Part(model.features(images), names, labels, images)

    return Source(split, len(table), parts())


def of_files(model: TrainedModel, paths: list[str], advance: Callable[[int], None]) -> Source:
    """Of files; the class of an image is the folder that it lies in, if there are several."""
    labelled = len({Path(path).parent.name for path in paths}) > 1
    bad: list[tuple[str, str]] = []

    def parts() -> Iterator[Part]:
        for batch in stream(paths, lambda path: decode_file(path, model.image_shape)):
            good = [(read.path, read.value) for read in batch if read.value is not None]
            bad.extend((read.path, read.why) for read in batch if read.value is None)
            if good:
                images = torch.stack([pixels for _, pixels in good])
                names = [in_a_line(printable(path)) for path, _ in good]
                labels = [Path(name).parent.name for name in names] if labelled else None
                yield Part(model.features(images), names, labels, images)
            advance(len(batch))

    return Source("images", len(paths), parts(), bad)


class Sample:
    """At most `limit` of `count` images that go by, evenly spread, with small pictures of them."""

    def __init__(self, count: int, limit: int) -> None:
        self.count, self.limit, self.seen = count, min(limit, count), 0
        self.parts: list[Part] = []

    def watch(self, parts: Iterator[Part]) -> Iterator[Part]:
        """The same parts; some of their rows are kept."""
        for part in parts:
            places = [row for row in range(len(part.names)) if self._taken(self.seen + row)]
            self.seen += len(part.names)
            if places:
                self.parts.append(
                    Part(
                        part.features[places],
                        [part.names[row] for row in places],
                        None if part.labels is None else [part.labels[row] for row in places],
                        _thumbnails(part.images[places]),
                    )
                )
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

    def _taken(self, place: int) -> bool:
        return (place + 1) * self.limit // self.count > place * self.limit // self.count


def _thumbnails(images: Tensor) -> Tensor:
    """uint8 images no larger than 64 pixels to a side, and none of the memory that they lie in."""
    height, width = images.shape[2:]
    scale = _THUMBNAIL / max(height, width)
    if scale >= 1:
        return images.clone()
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(images.float(), size, mode="area").round().byte()
