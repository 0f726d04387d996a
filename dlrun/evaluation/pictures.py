"""Pictures of what a method does, always of the same val images, so that a run can be followed."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.data.table import DataSet, PixelScale, Table, domain_rows
from dlrun.evaluation.captions import with_captions
from dlrun.evaluation.code_pictures import from_mixture, interpolations, traversals
from dlrun.evaluation.evaluate import DIRECTIONS
from dlrun.evaluation.features import nearest
from dlrun.evaluation.inference import Inference
from dlrun.methods.abilities import Decodes, Embeds, Predicts, Reconstructs, Samples, Translates
from dlrun.methods.hooks import HasSamplingWeights
from dlrun.randomness import seed_everything

COLUMNS = 12
_CELL = 64  # pixels: small images are enlarged by a whole factor to about this
_GAP = 2
_BETWEEN = 8  # pixels between the two directions of a translation
_RIGHT, _WRONG = (0.2, 0.7, 0.3), (0.9, 0.2, 0.2)


def pictures(inference: Inference, seed: int) -> dict[str, Tensor]:
    """Grids (C, H, W) in [0, 1] by name, for every capability."""
    method, data = inference.method, inference.data
    table = data.val if len(data.val) else data.test
    seed_everything(seed, "pictures")
    found: dict[str, Tensor] = {}
    with inference.evaluating():
        first = torch.arange(min(COLUMNS, len(table)))
        if isinstance(method, Reconstructs):
            image = inference.images(table, first)
            found["reconstructions"] = grid(
                [inference.scale.to_unit(image), method.reconstruct(image)]
            )
        if isinstance(method, Samples):
            found["samples"] = grid(method.sample(5 * COLUMNS).split(COLUMNS))
        if isinstance(method, Decodes) and len(table) > 1:
            found["interpolations"] = grid(interpolations(inference, method, COLUMNS))
            found["traversals"] = grid(traversals(inference, method, COLUMNS))
            drawn = from_mixture(inference, method, 5 * COLUMNS, seed)
            found["samples_mixture"] = grid(drawn.split(COLUMNS))
        if isinstance(method, Translates):
            found["translations"] = _translations(inference, method)
        if isinstance(method, HasSamplingWeights) and bool(method.weights.any()):
            rows, captions = most_and_least_drawn(data.train, method.weights, COLUMNS)
            found["weights"] = with_captions(grid(rows), captions)
        if isinstance(method, Predicts) and method.classifies and table.labels is not None:
            found["predictions"] = _predictions(inference, method)
        elif isinstance(method, Embeds) and not isinstance(method, Reconstructs):
            found["neighbours"] = _neighbours(inference, method)
    return found


def view_picture(batch: Any, scale: PixelScale) -> Tensor:
    """What the network is shown: one row for each image of a batch's view."""
    parts = [getattr(batch, field.name) for field in fields(batch)]
    images = [part for part in parts if isinstance(part, Tensor) and part.ndim == 4]
    rows = [scale.to_unit(image[:COLUMNS]) for image in images]
    return grid(rows)


def grid(rows: Sequence[Tensor]) -> Tensor:
    """Rows of images (N, C, H, W) in [0, 1] as one picture (C, H', W') on white."""
    factor = max(1, round(_CELL / rows[0].shape[-1]))
    count = max(len(row) for row in rows)
    lines = []
    for row in rows:
        cells = F.interpolate(row.float().cpu(), scale_factor=factor, mode="nearest")
        cells = F.pad(cells, (0, _GAP, 0, _GAP), value=1.0)
        blank = torch.ones(count - len(row), *cells.shape[1:])
        lines.append(torch.cat([*cells, *blank], dim=2))
    return torch.cat(lines, dim=1)[:, :-_GAP, :-_GAP]


def most_and_least_drawn(
    table: Table, weights: Tensor, columns: int
) -> tuple[list[Tensor], list[str]]:
    """Two rows each of the images with the largest and the smallest weights, and their captions.

    Images in [0, 1]; those of weight 0 are drawn otherwise.
    """
    order = weights.argsort(descending=True, stable=True)[: int((weights > 0).sum())]
    rows: list[Tensor] = []
    captions = []
    for chosen, name in ((order, "most"), (order.flip(0), "least")):
        chosen = chosen[: 2 * columns].to(table.images.device)
        for part in table.images[chosen].float().div(255).split(columns):
            rows.append(part)
            captions.append(f"drawn {name}")
    return rows, captions


def _translations(inference: Inference, method: Translates) -> Tensor:
    """For each direction: the images, their translations, and what comes back; with captions."""
    data, scale = inference.data, inference.scale
    split = "val" if len(data.val) else "test"
    rows, captions = [], []
    for there, back, chosen, names in zip(
        DIRECTIONS, DIRECTIONS[::-1], domain_rows(data, split), _domain_names(data), strict=True
    ):
        image = inference.images(getattr(data, split), chosen[:COLUMNS])
        translated = method.translate(image, there)
        again = scale.from_unit(translated.clone()).contiguous(
            memory_format=inference.memory_format
        )
        rows += [scale.to_unit(image), translated, method.translate(again, back)]
        captions += [names[0], f"as {names[1]}", "and back"]
    picture = with_captions(grid(rows), captions)
    half = (picture.shape[1] + _GAP) // 2
    between = torch.ones(picture.shape[0], _BETWEEN, picture.shape[2])
    return torch.cat([picture[:, :half], between, picture[:, half:]], dim=1)


def _domain_names(data: DataSet) -> tuple[tuple[str, str], tuple[str, str]]:
    """From where to where, for each direction."""
    assert data.domains is not None
    a, b = (data.class_names[domain] for domain in data.domains)
    return (a, b), (b, a)


def _predictions(inference: Inference, method: Predicts) -> Tensor:
    """A row for each class: what was taken for it, surest first; red frames are mistakes."""
    table = inference.data.val if len(inference.data.val) else inference.data.test
    assert table.labels is not None
    surest, predicted = inference.over(table, method.predict).softmax(1).max(1)
    labels = table.labels.to(predicted.device)
    rows = []
    for c in range(min(inference.data.num_classes, COLUMNS)):
        taken = (predicted == c).nonzero()[:, 0]
        wrong = labels[taken] != c
        # Mistakes first: they are what a person wants to see.
        order = (surest[taken] + wrong).argsort(descending=True)[:COLUMNS]
        rows.append(
            _framed(inference, table.images.to(predicted.device)[taken[order]], ~wrong[order])
        )
    return grid(rows)


def _neighbours(inference: Inference, method: Embeds) -> Tensor:
    """A row for each val image: it, and the train images with the nearest features."""
    data = inference.data
    table = data.val if len(data.val) else data.test
    queries = torch.arange(min(10, len(table)))
    found = nearest(
        inference.over(data.train, method.embed),
        method.embed(inference.images(table, queries)).float(),
        min(COLUMNS - 1, len(data.train)),
    ).cpu()
    rows = []
    for query, neighbours in zip(queries, found, strict=True):
        same = torch.ones(1 + len(neighbours), dtype=torch.bool)
        if data.train.labels is not None and table.labels is not None:
            same[1:] = data.train.labels.cpu()[neighbours] == table.labels.cpu()[query]
        images = torch.cat([table.images.cpu()[query][None], data.train.images.cpu()[neighbours]])
        rows.append(_framed(inference, images, same))
    return grid(rows)


def _framed(inference: Inference, images: Tensor, right: Tensor) -> Tensor:
    """uint8 images in [0, 1] with a green or a red frame, RGB."""
    unit = images.float().div(255).cpu()
    unit = unit.expand(-1, 3, -1, -1).clone() if unit.shape[1] == 1 else unit.clone()
    colours = torch.tensor([_WRONG, _RIGHT])[right.cpu().long()]
    for edge in (unit[:, :, 0], unit[:, :, -1], unit[..., 0], unit[..., -1]):
        edge[:] = colours[:, :, None]
    return unit
