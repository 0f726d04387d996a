"""Pictures of features: in two dimensions, nearest neighbours, TensorBoard's projector."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from dlrun.errors import UserError
from dlrun.evaluation.features import nearest
from dlrun.evaluation.pictures import grid

if TYPE_CHECKING:
    from dlrun.use.features import Part

Way = Literal["pca", "tsne", "umap"]
_ROWS, _COLUMNS = 12, 12  # of the neighbours
_COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000",
    "#ee7733", "#009988",
)  # fmt: skip  # Paul Tol's "bright" and two of "vibrant": apart also for the colour-blind


def require_library(way: Way) -> None:
    """Raises UserError where it is not installed."""
    needed = {
        "tsne": ("sklearn", "scikit-learn: pip install 'dlrun[features]'"),
        "umap": ("umap", "umap-learn: pip install umap-learn"),
    }
    if way in needed and importlib.util.find_spec(needed[way][0]) is None:
        raise UserError(f"--picture {way} needs {needed[way][1]}")


def pictures(found: "Part", way: Way | None, neighbours: bool, seed: int) -> dict[str, Tensor]:
    """Pictures (3, H, W) in [0, 1] by the ends of their files' names.

    Args:
        found: features and their images.
        way: of a plot in two dimensions, if it is wanted.
        neighbours: whether a grid of images and their nearest ones is wanted.
        seed: of t-SNE and UMAP.

    Raises:
        UserError: there are too few.
    """
    made: dict[str, Tensor] = {}
    if way is not None:
        made[way] = scatter(in_two_dimensions(found.features, way, seed), found.labels)
    if neighbours:
        made["neighbours"] = grid(neighbour_rows(found.features, found.images, _ROWS, _COLUMNS))
    return made


def write_projector(found: "Part", folder: Path, step: int) -> None:
    """TensorBoard's projector of the features, with thumbnails."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
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
    x = features.numpy().astype(np.float32)
    return torch.from_numpy(np.asarray(_fitted(x, way, seed), dtype=np.float32))


def _fitted(x: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", way: Way, seed: int) -> object:
    if way == "umap":
        from umap import UMAP

        return UMAP(random_state=seed, n_neighbors=min(15, len(x) - 1)).fit_transform(x)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(x) - 1) / 3)
    return TSNE(random_state=seed, perplexity=perplexity, init="pca").fit_transform(x)


def scatter(points: Tensor, labels: list[str] | None, size: int = 900) -> Tensor:
    """Points (N, 2) as a picture (3, size, size) in [0, 1], coloured by label, with a legend."""
    from PIL import Image, ImageDraw, ImageFont

    scale = 2  # drawn larger and made smaller, so that edges are smooth
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
    """Some images, evenly spread over all, each in a row with those of the nearest features.

    From features (N, D) and uint8 images (N, C, H, W) to rows (columns, C, H, W) in [0, 1].
    """
    chosen = torch.linspace(0, len(images) - 1, min(queries, len(images))).round().long()
    found = nearest(features, features[chosen], min(columns, len(images)))
    rows = []
    for query, near in zip(chosen, found, strict=True):
        others = near[near != query][: columns - 1]
        rows.append(images[torch.cat([query[None], others])].float() / 255)
    return rows
