"""Tensors to picture files: whole or not at all."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from dlrun.errors import UserError
from dlrun.files import output_file

_QUALITY = {"quality": 95}  # of JPEG and WebP: what it shows is the model, not the file format


def to_picture(image: Tensor) -> Image.Image:
    """Of float (C, H, W) in [0, 1], C 1 or 3."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu()
    height, width, channels = pixels.shape
    mode = "L" if channels == 1 else "RGB"
    return Image.frombytes(mode, (width, height), pixels.numpy().tobytes())


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    """In the format of the path's ending, by way of a temporary file.

    Raises:
        UserError: there is no such format, or it cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise UserError(f"{path}: no kind of picture that can be written; end it in .png or .jpg")
    if kind in ("JPEG", "WEBP"):
        options = _QUALITY | options
    with output_file(path) as temporary:
        picture.save(temporary, format=kind, **options)
    return path


def save_animation(frames: Sequence[Tensor], path: Path, seconds: float = 0.1) -> Path:
    """A GIF that begins again at its end, of pictures (C, H, W) in [0, 1]."""
    first, *others = (to_picture(frame).convert("P") for frame in frames)
    return save(
        first, path, save_all=True, append_images=others, duration=round(1000 * seconds), loop=0
    )
