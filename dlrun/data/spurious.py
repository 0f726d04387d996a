"""Attributes that an image can be given: a tint, a flip, a rotation, a background."""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.errors import UserError

_HUES, _GRATINGS, _QUARTERS = 10, 8, 4  # more of them could hardly be told apart
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
    parts = [images.new_empty(0, 3, *images.shape[2:])]
    for part, chosen in zip(images.split(4096), values.split(4096), strict=True):
        tint = colours[chosen][:, :, None, None]
        parts.append((part.float() * tint).round().byte())
    return torch.cat(parts)


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
    """In front of stripes that stand at one of `count` angles.

    Grey images are an object on black: stripes show as far as a pixel is dark. Of a colour image
    nobody knows where its background begins, and dark is not behind; it gets a frame of stripes.
    """
    height, width = images.shape[2:]
    stripes = gratings(count, height, width)
    if images.shape[1] == 1:
        cover = None
    else:
        edge = max(1, min(height, width) // _FRAME)
        cover = torch.ones(height, width)
        cover[:edge] = cover[-edge:] = cover[:, :edge] = cover[:, -edge:] = 0
    parts = [images[:0]]
    for part, chosen in zip(images.split(4096), values.split(4096), strict=True):
        x = part.float()
        opaque = x / 255 if cover is None else cover
        object_alone = x if cover is None else x * cover
        parts.append((object_alone + (1 - opaque) * stripes[chosen]).round().byte())
    return torch.cat(parts)


def gratings(count: int, height: int, width: int) -> Tensor:
    """Waves along `count` directions, float32 (count, 1, height, width) in [0, 255]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    angles = math.pi * torch.arange(count) / count
    along = angles.cos()[:, None, None] * x + angles.sin()[:, None, None] * y
    return (_MEAN + _AMPLITUDE * (2 * math.pi * along / _PERIOD).sin())[:, None]
