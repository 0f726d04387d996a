"""Image files of any size and mode to one uint8 tensor."""

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch
from PIL import Image, ImageOps
from torch import Tensor

_log = logging.getLogger("dlrun")
_LOG_EVERY = 5.0  # seconds between two log lines of a long decode
_AHEAD = 16  # files that wait for each thread; all of them at once would take memory
_ORIENTATION = 0x0112  # of EXIF; from 5 on, width and height are swapped
_THREADS = 16  # more only wait for the interpreter's lock


def decode(paths: Sequence[str], size: int, channels: int) -> tuple[Tensor, list[str | None]]:
    """Reads every file, on all processors.

    Args:
        paths: image files.
        size: side in pixels of the square that each image is resized and cropped to.
        channels: 1 for grey, 3 for RGB.

    Returns:
        uint8 (N, channels, size, size), and for each file why it cannot be read, or None; its
        pixels are then undefined.
    """
    images = torch.empty(len(paths), channels, size, size, dtype=torch.uint8)
    reasons: list[str | None] = []
    threads = min(_THREADS, os.cpu_count() or 1)
    logged = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:  # PIL releases the GIL while it decodes
        while len(reasons) < len(paths):
            part = slice(len(reasons), len(reasons) + _AHEAD * threads)
            reasons += pool.map(_decode_into, images[part], paths[part])
            if time.monotonic() - logged > _LOG_EVERY:
                logged = time.monotonic()
                _log.info("decoded %d of %d images", len(reasons), len(paths))
    return images, reasons


def _decode_into(out: Tensor, path: str) -> str | None:
    channels, height, width = out.shape
    try:
        out.copy_(decode_file(path, (channels, height, width)))
    except Exception as error:  # each decoder fails in its own way
        return reason(error, path)
    return None


def decode_file(path: str, shape: tuple[int, int, int]) -> Tensor:
    """One file as uint8 (C, H, W) of `shape`. Raises what PIL raises; `reason` words it."""
    return fitted(open_picture(path, shape)[0], shape)


def open_picture(path: str, shape: tuple[int, int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """One file as an L or RGB image, turned upright, and its whole width and height.

    The image may be smaller than that, but at least twice as large as `shape`. Raises what PIL
    raises; `reason` tells it.
    """
    _, height, width = shape
    with Image.open(path) as file:
        whole = file.size
        file.draft(None, (2 * width, 2 * height))  # JPEG: skips detail that resizing would discard
        sideways = file.getexif().get(_ORIENTATION, 1) >= 5
        upright = ImageOps.exif_transpose(file)
        return flatten_mode(upright), whole[::-1] if sideways else whole


def fitted(image: Image.Image, shape: tuple[int, int, int]) -> Tensor:
    """An L or RGB image resized, cropped around its middle and as uint8 (C, H, W) of `shape`."""
    _, height, width = shape
    return _pixels(ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC), shape)


def stretched(image: Image.Image, shape: tuple[int, int, int]) -> Tensor:
    """The same of the whole image, whatever its sides are to each other."""
    _, height, width = shape
    return _pixels(image.resize((width, height), Image.Resampling.BICUBIC), shape)


def _pixels(image: Image.Image, shape: tuple[int, int, int]) -> Tensor:
    channels, height, width = shape
    pixels = image.convert("L" if channels == 1 else "RGB").tobytes()
    rows = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(height, width, channels)
    return rows.permute(2, 0, 1)


def flatten_mode(image: Image.Image) -> Image.Image:
    """Any PIL mode to L or RGB: 16 bits scaled to 8, transparency laid over white.

    Raises:
        ValueError: the pixels have no stated range.
    """
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = image.convert("I")
        low, high = image.getextrema()
        if not 0 <= low <= high < 2**16:  # type: ignore[operator]
            raise ValueError(f"integers from {low} to {high}, expected 0 to 65535")
        return image.point(lambda value: value / 257 + 0.5).convert("L")  # 65535 = 255 x 257
    if image.mode == "F":
        raise ValueError("floats, which have no stated range")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("L" if image.mode in ("L", "1") else "RGB")


def reason(error: Exception, path: str) -> str:
    """Why `path` could not be decoded, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    with suppress(OSError):
        if not os.path.getsize(path):
            return "empty file"
    if isinstance(error, Image.DecompressionBombError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"more than {most:,} pixels, as in a file that is made to fill the memory"
    text = str(error).replace(repr(path), "").strip() or type(error).__name__
    return text.splitlines()[0][:100]
