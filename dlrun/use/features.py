"""Features of many images as a stream of batches, and pictures of them."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.data.table import Table, some_rows
from dlrun.errors import UserError
from dlrun.evaluation.features import nearest
from dlrun.evaluation.pictures import grid
from dlrun.files import naming
from dlrun.runs.loggers import summary_writer
from dlrun.text import printable
from dlrun.use.data import open_data
from dlrun.use.model import TrainedModel
from dlrun.use.stream import Read, find_files, read_all, read_batches

Way = Literal["pca", "tsne", "umap"]
_THUMBNAIL = 64  # pixels: TensorBoard puts all of them into one picture
_CODES = 250  # images are enough for a mean and a deviation
_ROWS, _COLUMNS = 12, 12  # of the neighbours
_COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000",
    "#ee7733", "#009988",
)  # fmt: skip  # Paul Tol's "bright" and two of "vibrant": distinct for the colour-blind too


@dataclass(frozen=True)
class Part:
    """Some images, uint8 (n, C, H, W), and in the same order their features (n, D), float32."""

    features: Tensor
    names: list[str]
    labels: list[str] | None
    images: Tensor


@dataclass
class Source:
    """Batches that are computed one at a time."""

    name: str
    """For a file's name."""
    count: int
    """Of images, including those that cannot be read."""
    parts: Iterator[Part]
    unreadable: list[Read[Tensor]] = field(default_factory=list)
    """In the batches so far."""


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
            yield Part(model.embed(batch), names, labels, batch)

    return Source(split, len(table), parts())


def of_files(model: TrainedModel, paths: list[str], advance: Callable[[int], None]) -> Source:
    """Of files; the class of an image is its folder, if there are several folders."""
    labelled = len({Path(path).parent.name for path in paths}) > 1
    unreadable: list[Read[Tensor]] = []

    def parts() -> Iterator[Part]:
        for batch, table in read_batches(paths, model.image_shape, model.info.bits):
            unreadable.extend(read for read in batch if read.value is None)
            if len(table):
                good = [read.path for read in batch if read.value is not None]
                names = [printable(path) for path in good]
                labels = [Path(name).parent.name for name in names] if labelled else None
                yield Part(model.embed(table), names, labels, table)
            advance(len(batch))

    return Source("images", len(paths), parts(), unreadable)


def codes_of(model: TrainedModel, among: Sequence[str]) -> Tensor:
    """Codes (N, D) of some images: of the files `among`, or of the val split if there are none.

    Raises:
        UserError: there are fewer than two, or the data set cannot be opened.
    """
    if among:
        files = find_files(among)
        chosen = [files[row] for row in some_rows(len(files), _CODES, "codes").tolist()]
        table, unreadable = read_all(chosen, model.image_shape, model.info.bits)
        if len(table) < 2:
            raise UserError(
                f"--among: got {len(table)} images and {len(unreadable)} unreadable files, "
                "expected 2 images or more"
            )
        return model.embed(table)
    data = open_data(model)[0]
    held_out = data.val if len(data.val) else data.test
    return model.embed(held_out.images[some_rows(len(held_out), _CODES, "codes")])


class Sample:
    """At most `limit` of a stream's `count` images, evenly spread, as thumbnails."""

    def __init__(self, count: int, limit: int) -> None:
        self.count, self.limit = count, min(limit, count)
        self.parts: list[Part] = []

    def watch(self, parts: Iterator[Part]) -> Iterator[Part]:
        """Yields the same parts and keeps some of their rows."""
        seen = 0
        for part in parts:
            places = torch.arange(seen, seen + len(part.names) + 1) * self.limit // self.count
            rows = places.diff().nonzero()[:, 0].tolist()
            seen += len(part.names)
            if rows:
                labels = None if part.labels is None else [part.labels[row] for row in rows]
                names = [part.names[row] for row in rows]
                thumbnails = _thumbnails(part.images[rows])
                self.parts.append(Part(part.features[rows], names, labels, thumbnails))
            yield part

    def whole(self) -> Part:
        """The kept rows."""
        parts, labelled = self.parts, self.parts[0].labels is not None
        return Part(
            torch.cat([part.features for part in parts]),
            [name for part in parts for name in part.names],
            [label for part in parts for label in part.labels or ()] if labelled else None,
            torch.cat([part.images for part in parts]),
        )


def _thumbnails(batch: Tensor) -> Tensor:
    """Copies of uint8 images, at most 64 pixels on each side."""
    height, width = batch.shape[2:]
    scale = _THUMBNAIL / max(height, width)
    if scale >= 1:
        return batch.clone()
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    return F.interpolate(batch.float(), size, mode="area").round().byte()


def require_library(way: Way) -> None:
    """Raises UserError if it is not installed."""
    needed = {
        "tsne": ("sklearn", "scikit-learn: pip install 'dlrun[features]'"),
        "umap": ("umap", "umap-learn: pip install umap-learn"),
    }
    if way in needed and importlib.util.find_spec(needed[way][0]) is None:
        raise UserError(f"--picture {way} needs {needed[way][1]}")


def pictures(found: Part, way: Way | None, neighbours: bool, seed: int) -> dict[str, Tensor]:
    """Pictures (C, H, W) in [0, 1] by the last part of their files' names.

    With a `way` a plot in two dimensions, with `neighbours` a grid of images and their nearest
    ones. Raises UserError if there are too few images.
    """
    made: dict[str, Tensor] = {}
    if way is not None:
        made[way] = scatter(in_two_dimensions(found.features, way, seed), found.labels)
    if neighbours:
        made["neighbours"] = grid(neighbour_rows(found.features, found.images, _ROWS, _COLUMNS))
    return made


def write_projector(found: Part, folder: Path, step: int) -> None:
    """TensorBoard's projector of the features, with thumbnails."""
    with naming(folder), summary_writer(folder) as writer:
        writer.add_embedding(
            found.features, metadata=found.labels or found.names, global_step=step, tag="features",
            label_img=found.images.float() / 255,
        )  # fmt: skip


def in_two_dimensions(features: Tensor, way: Way, seed: int) -> Tensor:
    """Features (N, D) to points (N, 2), float32.

    Raises:
        UserError: there are fewer than three.
    """
    if len(features) < 3:
        raise UserError(f"--picture: got {len(features)} images, expected 3 or more")
    if way == "pca":
        centred = features - features.mean(0)
        axes = torch.linalg.svd(centred, full_matrices=False)[2][:2]
        points: Tensor = centred @ axes.T
        return points
    x: Any = features.numpy().astype(np.float32)
    solver: Any
    if way == "umap":
        from umap import UMAP

        solver = UMAP(random_state=seed, n_neighbors=min(15, len(x) - 1))
    else:
        from sklearn.manifold import TSNE

        perplexity = min(30.0, (len(x) - 1) / 3)
        solver = TSNE(random_state=seed, perplexity=perplexity, init="pca")
    return torch.from_numpy(np.asarray(solver.fit_transform(x), dtype=np.float32))


def scatter(points: Tensor, labels: list[str] | None, size: int = 900) -> Tensor:
    """Points (N, 2) as a picture (3, size, size) in [0, 1], coloured by label, with a legend."""
    from PIL import Image, ImageDraw, ImageFont

    scale = 2  # drawn larger and then reduced, so that edges are smooth
    side, margin = size * scale, 40 * scale
    low, high = points.min(0).values, points.max(0).values
    legend = 120 * scale if labels else 0  # to the left of all points
    room = torch.tensor([side - 2 * margin - legend, side - 2 * margin])
    pixels = (points - low) / (high - low).clamp_min(1e-9) * room + margin
    pixels[:, 0] += legend
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    names = sorted(set(labels)) if labels else []
    radius = (3 if len(points) > 2000 else 5) * scale
    for i, (x, y) in enumerate(pixels.tolist()):
        index = names.index(labels[i]) if labels else 0
        box = (x - radius, side - y - radius, x + radius, side - y + radius)
        draw.ellipse(box, fill=_COLOURS[index % len(_COLOURS)])
    font = ImageFont.load_default(13 * scale)
    for index, name in enumerate(names[: len(_COLOURS)]):
        y = (8 + 18 * index) * scale
        draw.rectangle((8 * scale, y, 20 * scale, y + 12 * scale), fill=_COLOURS[index])
        draw.text((26 * scale, y - 2 * scale), name, fill="black", font=font)
    if len(names) > len(_COLOURS):
        more = f"and {len(names) - len(_COLOURS)} more, in the same colours again"
        draw.text((8 * scale, (6 + 18 * len(_COLOURS)) * scale), more, fill="black", font=font)
    small = torch.from_numpy(np.array(image.resize((size, size), Image.Resampling.LANCZOS)))
    return small.permute(2, 0, 1).float() / 255


def neighbour_rows(features: Tensor, images: Tensor, queries: int, columns: int) -> list[Tensor]:
    """Some images, evenly spread over all, each in a row with the images of the nearest features.

    From features (N, D) and uint8 images (N, C, H, W) to rows (columns, C, H, W) in [0, 1].
    """
    chosen = torch.linspace(0, len(images) - 1, min(queries, len(images))).round().long()
    found = nearest(features, features[chosen], min(columns, len(images)))
    rows = []
    for query, near in zip(chosen, found, strict=True):
        others = near[near != query][: columns - 1]
        rows.append(images[torch.cat([query[None], others])].float() / 255)
    return rows
