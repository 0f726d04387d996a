"""Images of any kind to tensors of the shape that a method was trained on, as in training."""

from os import PathLike, fspath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from dlrun.data.sources.decoding import decode_file, fitted, reason, upright
from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.text import printable

Image = str | PathLike[str] | PILImage.Image | NDArray[Any] | Tensor
"""A file, a PIL image of any mode, an array (H, W) or (H, W, C) of uint8, or a tensor (C, H, W) of
uint8 or of floats in [0, 1]."""

Shape = tuple[int, int, int]


def to_bytes(image: Image, shape: Shape, bits: int = 16) -> Tensor:
    """uint8 (C, H, W) of `shape`: turned upright, resized and cropped as in training.

    `bits` are those that images of 16 bits use.

    Raises:
        UserError: it cannot be read, or is not an image.
    """
    if isinstance(image, str | PathLike):
        path = expanded(fspath(image))
        try:
            return decode_file(path, shape, bits)
        except Exception as error:  # each decoder fails in its own way
            raise UserError(f"{printable(path)}: {reason(error, path)}") from error
    if isinstance(image, Tensor):
        image = _array_of(image)
    if isinstance(image, np.ndarray):
        image = _picture_of(image)
    if not isinstance(image, PILImage.Image):
        raise UserError(
            f"got {type(image).__name__}, expected an image: a path, a PIL image, an array (H, W, "
            "C) or a tensor (C, H, W)"
        )
    try:
        return fitted(upright(image, bits), shape)
    except (ValueError, OSError) as error:
        raise UserError(f"the image cannot be used: {error}") from error


def _array_of(image: Tensor) -> NDArray[Any]:
    if image.ndim not in (2, 3):
        raise UserError(
            f"got a tensor {tuple(image.shape)}, expected an image (C, H, W) or a batch "
            "(N, C, H, W)"
        )
    image = image.detach().cpu()
    if image.is_floating_point():
        if not bool(((image >= 0) & (image <= 1)).all()):
            low, high = float(image.min()), float(image.max())
            raise UserError(f"got floats from {low:g} to {high:g}, expected them in [0, 1]")
        image = (image.float() * 255).round().byte()
    array: NDArray[Any] = (image if image.ndim == 2 else image.permute(1, 2, 0)).numpy()
    return array


def _picture_of(array: NDArray[Any]) -> PILImage.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise UserError(
            f"got an array of {array.dtype} {array.shape}, expected uint8 (H, W) or (H, W, C) with "
            "1, 3 or 4 channels"
        )
    if array.ndim == 3 and channels == 1:
        array = array[..., 0]
    return PILImage.fromarray(np.ascontiguousarray(array))
