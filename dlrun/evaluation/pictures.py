"""Pictures of what a method does, always of the same val images, so that a run can be followed."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from dlrun.data.table import PixelScale, Table, domain_rows, some_rows
from dlrun.evaluation.features import nearest
from dlrun.evaluation.inference import DIRECTIONS, Inference
from dlrun.evaluation.mixture import codes_mixture
from dlrun.methods.abilities import Decodes, Embeds, Predicts, Reconstructs, Samples, Translates
from dlrun.methods.hooks import HasSamplingWeights
from dlrun.randomness import seed_everything

COLUMNS = 12
_CELL = 64  # pixels: small images are enlarged by a whole factor to about this
_GAP = 2
_BETWEEN = 8  # pixels between the two directions of a translation
_RIGHT, _WRONG = (0.2, 0.7, 0.3), (0.9, 0.2, 0.2)
_PAIRS, _TRAVERSED, _NEIGHBOURS = 5, 10, 10  # rows of a picture
_TRAIN = 500  # images of train where there is no val split
_LETTERS, _MARGIN, _WIDEST = 13, 6, 160  # pixels, of captions; a longer one is shortened


def pictures(inference: Inference, seed: int) -> dict[str, Tensor]:
    """Grids (C, H, W) in [0, 1] by name, for every capability.

    Of val images; without any, of some train images, as the test split is for the end.
    """
    if not len(inference.data.val):
        train = inference.data.train
        some = train.subset(some_rows(len(train), _TRAIN, "pictures"))
        inference = replace(inference, data=replace(inference.data, val=some))
    method, data, table = inference.method, inference.data, inference.data.val
    seed_everything(seed, "pictures")
    found: dict[str, Tensor] = {}
    with inference.evaluating():
        shown = inference.decoded(table) if isinstance(method, Reconstructs) else ()
        if isinstance(method, Reconstructs) and len(shown):
            image = inference.images(table, _rows(inference, table, COLUMNS))
            rows = [inference.scale.to_unit(image), method.reconstruct(image)]
            found["reconstructions"] = grid(rows)
        if isinstance(method, Samples):
            found["samples"] = grid(method.sample(5 * COLUMNS).split(COLUMNS))
        if isinstance(method, Decodes) and len(shown) > 1:
            found["interpolations"] = _interpolations(inference, method, table)
            found["traversals"] = _traversals(inference, method, table)
            codes = codes_mixture(inference, method, seed).sample(5 * COLUMNS)
            drawn = method.decode(codes.to(inference.device))
            found["samples_mixture"] = grid(drawn.split(COLUMNS))
        if isinstance(method, Translates):
            found["translations"] = _translations(inference, method, "val")
        if isinstance(method, HasSamplingWeights) and bool(method.weights.any()):
            rows, captions = most_and_least_drawn(data.train, method.weights, COLUMNS)
            found["weights"] = with_captions(grid(rows), captions)
        if isinstance(method, Predicts) and method.classifies and table.labels is not None:
            found["predictions"] = _predictions(inference, method, table, table.labels)
        elif isinstance(method, Embeds) and not isinstance(method, Reconstructs):
            found["neighbours"] = _neighbours(inference, method, table)
    return found


def view_picture(batch: Any, scale: PixelScale) -> Tensor | None:
    """What the network sees of a batch: a row for each of its views; None where none is images."""
    parts = [getattr(batch, field.name) for field in fields(batch)]
    images = [part for part in parts if isinstance(part, Tensor) and part.ndim == 4]
    return grid([scale.to_unit(image[:COLUMNS]) for image in images]) if images else None


def grid(rows: Sequence[Tensor]) -> Tensor:
    """Rows of images (N, C, H, W) in [0, 1] as one picture (C, H', W') on white."""
    factor = max(1, round(_CELL / rows[0].shape[-1]))
    count = max(1, *(len(row) for row in rows))  # of many classes, none of the first is predicted
    lines = []
    for row in rows:
        cells = F.interpolate(row.float().cpu(), scale_factor=factor, mode="nearest")
        cells = F.pad(cells, (0, _GAP, 0, _GAP), value=1.0)
        blank = torch.ones(count - len(row), *cells.shape[1:])
        lines.append(torch.cat([*cells, *blank], dim=2))
    return torch.cat(lines, dim=1)[:, :-_GAP, :-_GAP]


def with_captions(picture: Tensor, captions: Sequence[str]) -> Tensor:
    """A grid (C, H, W) in [0, 1] with a caption to the left of each of its rows, black on white.

    Args:
        picture: rows of equal height, with or without a gap between them.
        captions: one for each row, from the top; an empty one leaves its space white.
    """
    font = ImageFont.load_default(_LETTERS)
    width = min(_WIDEST, round(max(font.getlength(text) for text in captions))) + 2 * _MARGIN
    height = picture.shape[1]
    column = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(column)
    for row, text in enumerate(captions):
        shown, kept = text, len(text)
        while font.getlength(shown) > _WIDEST:  # leave out its middle
            kept -= 1
            shown = f"{text[: kept - kept // 3]}…{text[len(text) - kept // 3 :]}"
        middle = round((row + 0.5) * height / len(captions))
        draw.text((_MARGIN, middle), shown, fill=0, font=font, anchor="lm")
    words = torch.from_numpy(np.array(column)).float().div(255)
    return torch.cat([words.expand(picture.shape[0], -1, -1), picture], dim=2)


def most_and_least_drawn(
    table: Table, weights: Tensor, columns: int
) -> tuple[list[Tensor], list[str]]:
    """Two rows each of the images with the largest and the smallest weights, and their captions.

    Images are in [0, 1]; those of weight 0 are left out, since they are drawn in another way.
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


def _interpolations(inference: Inference, method: Decodes, table: Table) -> Tensor:
    """A row for each of five pairs of images: the decoded codes on the line between theirs."""
    codes = _codes(inference, method, table, 2 * _PAIRS)
    steps = torch.linspace(0, 1, COLUMNS, device=codes.device)[:, None]
    pairs = zip(codes[::2], codes[1::2], strict=False)
    return grid([method.decode(torch.lerp(one[None], other[None], steps)) for one, other in pairs])


def _traversals(inference: Inference, method: Decodes, table: Table) -> Tensor:
    """A row for each dimension of the code, moved alone; those that vary most first.

    From 3 standard deviations of the images' codes below the first image's code to 3 above.
    """
    codes = _codes(inference, method, table, 250)
    spread = codes.std(0)
    moves = torch.linspace(-3, 3, COLUMNS, device=codes.device)
    rows = []
    for dim in spread.argsort(descending=True)[:_TRAVERSED]:
        moved = codes[:1].repeat(COLUMNS, 1)
        moved[:, dim] += moves * spread[dim]
        rows.append(method.decode(moved))
    return grid(rows)


def _codes(inference: Inference, method: Embeds, table: Table, n: int) -> Tensor:
    """Of n images, or of all if there are fewer: (n, D)."""
    return method.embed(inference.images(table, _rows(inference, table, n))).float()


def _rows(inference: Inference, table: Table, n: int) -> Tensor:
    """The same n images in every picture, of those that a decoder learns."""
    rows = inference.decoded(table)
    return rows[some_rows(len(rows), n, "pictures")]


def _translations(inference: Inference, method: Translates, split: str) -> Tensor:
    """For each direction: the images, their translations, and these translated back."""
    data, scale = inference.data, inference.scale
    assert data.domains is not None
    names = [data.class_names[domain] for domain in data.domains]
    rows, captions = [], []
    for there, back, chosen, own, other in zip(
        DIRECTIONS, DIRECTIONS[::-1], domain_rows(data, split), names, names[::-1], strict=True
    ):
        chosen = chosen[some_rows(len(chosen), COLUMNS, "pictures")]
        image = inference.images(getattr(data, split), chosen)
        translated = method.translate(image, there)
        again = method.translate(inference.seen(translated), back)
        rows += [scale.to_unit(image), translated, again]
        captions += [own, f"as {other}", "and back"]
    picture = with_captions(grid(rows), captions)
    half = (picture.shape[1] + _GAP) // 2
    between = torch.ones(picture.shape[0], _BETWEEN, picture.shape[2])
    return torch.cat([picture[:, :half], between, picture[:, half:]], dim=1)


def _predictions(inference: Inference, method: Predicts, table: Table, labels: Tensor) -> Tensor:
    """A row for each class: images predicted as it, most confident first; red frames: mistakes."""
    confidence, predicted = inference.over(table, method.predict).softmax(1).max(1)
    labels = labels.to(predicted.device)
    rows = []
    for c in range(min(inference.data.num_classes, COLUMNS)):
        taken = (predicted == c).nonzero()[:, 0]
        wrong = labels[taken] != c
        # Mistakes first: they are what a person wants to see.
        order = (confidence[taken] + wrong).argsort(descending=True)[:COLUMNS]
        rows.append(_framed(table.images.to(predicted.device)[taken[order]], ~wrong[order]))
    return grid(rows)


def _neighbours(inference: Inference, method: Embeds, table: Table) -> Tensor:
    """A row for each of ten images: it, and the train images with the nearest features."""
    train = inference.data.train
    own = _rows(inference, table, _NEIGHBOURS)
    queries = _codes(inference, method, table, _NEIGHBOURS)
    bank = inference.over(train, method.embed)
    rows = []
    near = nearest(bank, queries, min(COLUMNS - 1, len(train))).cpu()
    for query, found in zip(own.tolist(), near, strict=True):
        same = torch.ones(1 + len(found), dtype=torch.bool)
        if train.labels is not None and table.labels is not None:
            same[1:] = train.labels.cpu()[found] == table.labels.cpu()[query]
        images = torch.cat([table.images.cpu()[query][None], train.images.cpu()[found]])
        rows.append(_framed(images, same))
    return grid(rows)


def _framed(images: Tensor, right: Tensor) -> Tensor:
    """uint8 images as RGB in [0, 1], in a green frame where they are right, else in a red one."""
    unit = images.float().div(255).cpu()
    unit = unit.expand(-1, 3, -1, -1).clone() if unit.shape[1] == 1 else unit.clone()
    colours = torch.tensor([_WRONG, _RIGHT])[right.cpu().long()]
    for edge in (unit[:, :, 0], unit[:, :, -1], unit[..., 0], unit[..., -1]):
        edge[:] = colours[:, :, None]
    return unit
