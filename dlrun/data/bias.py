"""Biased data sets: a long tail, and an attribute that gives the class away in train only.

Applied to any labelled table after the split; all of it is a function of the images and of
`bias.seed`. Counts are met exactly instead of on average. An attribute is a tint, a flip, a
rotation or a background, drawn into the image.
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dlrun.data.options import BiasConfig
from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.randomness import permutation

ALIGNED, FREQUENCY = "aligned", "frequency"
ALIGNED_NAMES, FREQUENCY_NAMES = ("no", "yes"), ("few", "medium", "many")
_HUES, _GRATINGS, _QUARTERS = 10, 8, 4  # more of them would look alike
_SATURATION = 0.8
_PERIOD = 5.0  # pixels of a grating: seen at 28 x 28, and by a 3 x 3 kernel
_MEAN, _AMPLITUDE = 96.0, 64.0  # of a grating, of 255: visible, and darker than most objects
_FRAME = 8  # a photograph's frame is so many times in its side


@dataclass(frozen=True)
class Attribute:
    """One kind of attribute.

    `value_names` name its values; `draw` gives images uint8 (N, C, H, W) the values int64 (N,).
    """

    name: str
    value_names: tuple[str, ...]
    draw: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Biased:
    """Train, val and test after the bias.

    `value_names` are those of the columns that it adds, `groups` the columns that show its effect;
    `report` is for people.
    """

    splits: tuple[Table, Table, Table]
    value_names: dict[str, tuple[str, ...]]
    groups: tuple[str, ...]
    report: tuple[str, ...]


def biased(
    splits: tuple[Table, Table, Table], num_classes: int, options: BiasConfig, name: str
) -> Biased:
    """Train as `options` say, test free of it, val like one of the two.

    Args:
        splits: train, val and test, labelled.
        num_classes: two or more.
        options: of an active bias.
        name: of the data set, for messages.

    Raises:
        UserError: there are not two classes, or a column of its name is there already.
    """
    if splits[0].labels is None or num_classes < 2:
        raise UserError(
            f"bias: dataset={name} has no classes to tie the bias to, expected two or more; "
            "choose bias=none"
        )
    value_names: dict[str, tuple[str, ...]] = {}
    groups: tuple[str, ...] = ()
    report = []
    if options.imbalance > 1:
        splits = _long_tailed(splits, num_classes, options)
        value_names[FREQUENCY], groups = FREQUENCY_NAMES, (FREQUENCY,)
        counts = _labels(splits[0]).bincount(minlength=num_classes)
        report.append(
            f"bias: {int(counts.max()):,} train images of the most frequent class, "
            f"{int(counts.min()):,} of the least"
        )
    if options.attribute is not None:
        attribute = attribute_of(options.attribute, num_classes, splits[0].images.shape[1:])
        splits = _tied(splits, attribute, options)
        value_names |= {options.attribute: attribute.value_names, ALIGNED: ALIGNED_NAMES}
        groups = (*groups, ALIGNED)
        count = len(attribute.value_names)
        report.append(
            f"bias: {options.attribute}, one of {count}, is the class's own in "
            f"{options.strength:.4g} of train, in {1 / count:.4g} of test; "
            f"val is like {options.val}"
        )
    return Biased(splits, value_names, groups, tuple(report))


def _long_tailed(
    splits: tuple[Table, Table, Table], num_classes: int, options: BiasConfig
) -> tuple[Table, Table, Table]:
    """Train thinned, with a column of how frequent a class is.

    Val keeps all of its images: thinned, it would have too few of a class to choose an epoch by.
    """
    train, val, test = splits
    train = train.subset(tail_rows(_labels(train), num_classes, options.imbalance, options.seed))
    rank = torch.arange(num_classes) / (num_classes - 1)
    frequency = ((1 - rank) * (len(FREQUENCY_NAMES) - 1)).round().long()
    train, val, test = (
        _with(table, FREQUENCY, frequency[_labels(table)]) for table in (train, val, test)
    )
    return train, val, test


def tail_rows(labels: Tensor, num_classes: int, imbalance: float, seed: int) -> Tensor:
    """The rows that stay, sorted, int64.

    Class c keeps n imbalance^(-c/(K-1)) images (Cui et al. 2019, arXiv 1901.05555, section 5.1),
    at least one, n being the largest for which no class lacks any.
    """
    counts = labels.bincount(minlength=num_classes).double()
    share = imbalance ** (-torch.arange(num_classes).double() / (num_classes - 1))
    present = counts > 0
    most = float((counts / share)[present].min())
    kept = []
    for c in present.nonzero()[:, 0].tolist():
        rows = (labels == c).nonzero()[:, 0]
        count = max(1, round(most * float(share[c])))
        kept.append(rows[permutation(len(rows), seed, "bias", "long tail", c)[:count]])
    return torch.cat(kept).sort().values


def _tied(
    splits: tuple[Table, Table, Table], attribute: Attribute, options: BiasConfig
) -> tuple[Table, Table, Table]:
    tied = []
    for split, table in zip(("train", "val", "test"), splits, strict=True):
        like_train = split == "train" or (split == "val" and options.val == "train")
        strength = options.strength if like_train else None
        labels, count = _labels(table), len(attribute.value_names)
        values = tied_values(labels, count, strength, options.seed, split)
        table = _with(table, attribute.name, values)
        table = _with(table, ALIGNED, (values == labels % count).long())
        tied.append(replace(table, images=attribute.draw(table.images, values)))
    return tied[0], tied[1], tied[2]


def tied_values(
    labels: Tensor, count: int, strength: float | None, seed: int, split: str
) -> Tensor:
    """The attribute of each image, int64 (N,) in [0, count); class c's own is c mod count.

    The fraction `strength` of each class has its own value, the others have the rest in equal
    parts; None: all values in equal parts. Which image has which is drawn.
    """
    values = torch.empty_like(labels)
    for c in labels.unique().tolist():
        rows = (labels == c).nonzero()[:, 0]
        rows = rows[permutation(len(rows), seed, "bias", split, c)]
        turn = torch.arange(len(rows))
        if strength is not None:
            own = round(strength * len(rows))
            turn = torch.where(turn < own, 0, 1 + (turn - own) % (count - 1))
        values[rows] = (c + turn) % count
    return values


def _labels(table: Table) -> Tensor:
    assert table.labels is not None
    return table.labels


def _with(table: Table, name: str, column: Tensor) -> Table:
    if name in table.attributes:
        raise UserError(
            f"bias: the data set has a column {name!r} already, which the bias would add; rename it"
        )
    return replace(table, attributes={**table.attributes, name: column})


def attribute_of(name: str, num_classes: int, shape: tuple[int, ...]) -> Attribute:
    """The attribute `name` with a value for each class, as far as it has so many.

    Args:
        name: colour, flip, rotation or background.
        num_classes: two or more.
        shape: (C, H, W) of the images.

    Raises:
        UserError: images of that shape cannot be turned.
    """
    if name == "colour":
        hues = [360 * value // min(num_classes, _HUES) for value in range(min(num_classes, _HUES))]
        value_names = tuple(f"hue {hue}°" for hue in hues)
        return Attribute(name, value_names, lambda x, values: tinted(x, values, len(value_names)))
    if name == "flip":
        return Attribute(name, ("upright", "upside down"), upside_down)
    if name == "rotation":
        if shape[1] != shape[2]:
            raise UserError(
                f"bias=rotation: images of {shape[1]} x {shape[2]} cannot be turned by 90 degrees, "
                "expected square ones"
            )
        value_names = tuple(f"{90 * value}°" for value in range(min(num_classes, _QUARTERS)))
        return Attribute(name, value_names, quarter_turns)
    count = min(num_classes, _GRATINGS)
    value_names = tuple(f"stripes at {180 * value / count:g}°" for value in range(count))
    return Attribute(name, value_names, lambda x, values: before_stripes(x, values, count))


def tinted(images: Tensor, values: Tensor, count: int) -> Tensor:
    """Seen through glass of one of `count` hues; grey images become RGB."""
    colours = torch.tensor(
        [colorsys.hsv_to_rgb(value / count, _SATURATION, 1.0) for value in range(count)]
    )
    return _in_parts(images, values, lambda x, chosen: x * colours[chosen][:, :, None, None])


def upside_down(images: Tensor, values: Tensor) -> Tensor:
    """Where the value is 1. Left to right would be undone by the usual augmentation."""
    return torch.where(values.bool()[:, None, None, None], images.flip(2), images)


def quarter_turns(images: Tensor, values: Tensor) -> Tensor:
    """Turned by so many times 90 degrees, against the clock."""
    turned = images.clone()
    for turns in values.unique().tolist():
        chosen = values == turns
        turned[chosen] = images[chosen].rot90(turns, (2, 3))
    return turned


def before_stripes(images: Tensor, values: Tensor, count: int) -> Tensor:
    """In front of stripes at one of `count` angles.

    Grey images are an object on black: stripes show as far as a pixel is dark. Where the background
    of a colour image begins is not known, and dark is not behind; it gets a frame of stripes.
    """
    height, width = images.shape[2:]
    stripes = gratings(count, height, width)
    edge = max(1, min(height, width) // _FRAME)
    inside = torch.zeros(height, width)
    inside[edge:-edge, edge:-edge] = 1

    def draw(x: Tensor, chosen: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return x + (1 - x / 255) * stripes[chosen]
        return x * inside + (1 - inside) * stripes[chosen]

    return _in_parts(images, values, draw)


def _in_parts(images: Tensor, values: Tensor, draw: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`draw` of some images at a time, as floats in [0, 255]; all of them would take memory."""
    pairs = zip(images.split(4096), values.split(4096), strict=True)
    return torch.cat([draw(x.float(), chosen).round().byte() for x, chosen in pairs])


def gratings(count: int, height: int, width: int) -> Tensor:
    """Waves along `count` directions, float32 (count, 1, height, width) in [0, 255]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = math.pi * torch.arange(count) / count
    along = angles.cos()[:, None, None] * x + angles.sin()[:, None, None] * y
    return (_MEAN + _AMPLITUDE * (2 * math.pi * along / _PERIOD).sin())[:, None]
