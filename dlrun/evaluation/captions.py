"""Words on pictures, so that a grid says what its rows are."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_SIZE = 13  # of the letters, in pixels
_MARGIN = 6
_WIDEST = 160  # pixels; a longer caption is shrunk


def with_captions(picture: Tensor, captions: Sequence[str]) -> Tensor:
    """A grid (C, H, W) in [0, 1] with a caption to the left of each of its rows, black on white.

    Args:
        picture: rows of equal height, with or without a gap between them.
        captions: one for each row, from the top; empty ones leave their place white.
    """
    font = ImageFont.load_default(_SIZE)
    width = min(_WIDEST, round(max(font.getlength(text) for text in captions))) + 2 * _MARGIN
    height = picture.shape[1]
    column = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(column)
    for row, text in enumerate(captions):
        middle = round((row + 0.5) * height / len(captions))
        draw.text((_MARGIN, middle), _fitting(text, font), fill=0, font=font, anchor="lm")
    words = torch.from_numpy(np.array(column)).float().div(255)
    return torch.cat([words.expand(picture.shape[0], -1, -1), picture], dim=2)


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """With its middle left out where it is too long."""
    whole, kept = text, len(text)
    while font.getlength(text) > _WIDEST:
        kept -= 1
        text = f"{whole[: kept - kept // 3]}…{whole[len(whole) - kept // 3 :]}"
    return text
