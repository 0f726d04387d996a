"""Features in two dimensions, and what lies beside what."""

import importlib.util
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from dlrun.errors import UserError

Way = Literal["pca", "tsne", "umap"]
_COLOURS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000",
    "#ee7733", "#009988",
)  # fmt: skip  # Paul Tol's "bright" and two of "vibrant": apart also for the colour-blind


def demand_library(way: Way) -> None:
    """Raises UserError where it is not installed."""
    needed = {
        "tsne": ("sklearn", "scikit-learn: pip install 'dlrun[features]'"),
        "umap": ("umap", "umap-learn"),
    }
    if way in needed and importlib.util.find_spec(needed[way][0]) is None:
        raise UserError(f"--picture {way} needs {needed[way][1]}")


def in_two_dimensions(features: Tensor, way: Way, seed: int) -> Tensor:
    """Features (N, D) to (N, 2), float32.

    Raises:
        UserError: there are too few.
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
    places = (points - low) / (high - low).clamp_min(1e-9) * room + margin
    places[:, 0] += legend
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    names = sorted(set(labels)) if labels else []
    radius = (3 if len(points) > 2000 else 5) * scale
    for number, (x, y) in enumerate(places.tolist()):
        place = names.index(labels[number]) if labels else 0
        box = (x - radius, side - y - radius, x + radius, side - y + radius)
        draw.ellipse(box, fill=_COLOURS[place % len(_COLOURS)])
    font = ImageFont.load_default(13 * scale)
    for place, name in enumerate(names[: len(_COLOURS)]):
        y = (8 + 18 * place) * scale
        draw.rectangle((8 * scale, y, 20 * scale, y + 12 * scale), fill=_COLOURS[place])
        draw.text((26 * scale, y - 2 * scale), name, fill="black", font=font)
    if len(names) > len(_COLOURS):
        told = f"and {len(names) - len(_COLOURS)} more, in the same colours again"
        draw.text((8 * scale, (6 + 18 * len(_COLOURS)) * scale), told, fill="black", font=font)
    pixels = torch.from_numpy(np.array(image.resize((size, size), Image.Resampling.LANCZOS)))
    return pixels.permute(2, 0, 1).float() / 255


def neighbour_rows(features: Tensor, images: Tensor, queries: int, columns: int) -> list[Tensor]:
    """A row for each of some images spread over all: it, and those with the nearest features.

    Of features (N, D) and uint8 images (N, C, H, W): rows (columns, C, H, W) in [0, 1].
    """
    from dlrun.evaluation.features import nearest

    asked = torch.linspace(0, len(images) - 1, min(queries, len(images))).round().long()
    found = nearest(features, features[asked], min(columns, len(images)))
    rows = []
    for query, near in zip(asked, found, strict=True):
        others = near[near != query][: columns - 1]
        rows.append(images[torch.cat([query[None], others])].float() / 255)
    return rows
