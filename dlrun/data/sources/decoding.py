"""Image files of any size and mode to one uint8 tensor."""

import errno
import logging
import os
import stat
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageOps, JpegImagePlugin
from torch import Tensor

_log = logging.getLogger("dlrun")
_LOG_EVERY = 5.0  # seconds between two log lines of a long decode
_AHEAD = 16  # files that wait for each thread; all of them at once would take memory
_THREADS = 16  # more only wait for the interpreter's lock
# What starts no other program, as EPS does, and can be told by its first bytes.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM",
            "QOI", "SGI", "SUN", "TIFF", "WEBP")  # fmt: skip
_MOST_PIXELS = 2**26  # decoded at once by each thread, 200 MB as RGB
_ORIENTATION = 0x0112  # of EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""From an orientation to what turns it upright; from 5 on, width and height are swapped."""

# Pillow's warnings about odd files name no file. What cannot be read is named by dlrun.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


class Picture(NamedTuple):
    """An L or RGB image, turned upright.

    It may be smaller than the file's, whose width and height are `size`. `largest` is the largest
    value of 16-bit pixels, 0 where there are none.
    """

    image: Image.Image
    size: tuple[int, int]
    largest: int


class Decoded(NamedTuple):
    """Some files as uint8 (N, C, H, W), and for each why it cannot be read, or None.

    The pixels of a file that cannot be read are 0. `bits` are those of 16-bit pixels that were
    taken for white.
    """

    images: Tensor
    reasons: list[str | None]
    bits: int


def decode(paths: Sequence[str], size: int, channels: int, bits: int | None = None) -> Decoded:
    """Reads every file, on all processors.

    Args:
        paths: image files.
        size: side in pixels of the square that each image is resized and cropped to.
        channels: 1 for grey, 3 for RGB.
        bits: that images of 16 bits use, so that 2^bits - 1 is white; None: as many as the largest
            of all their values needs.
    """
    images = torch.zeros(len(paths), channels, size, size, dtype=torch.uint8)
    found: list[int | str] = []
    threads = min(_THREADS, os.cpu_count() or 1)
    logged = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:  # PIL releases the GIL while it decodes
        while len(found) < len(paths):
            part = slice(len(found), len(found) + _AHEAD * threads)
            wide = [bits or 16] * len(paths[part])
            found += pool.map(_decode_into, images[part], paths[part], wide)
            if time.monotonic() - logged > _LOG_EVERY:
                logged = time.monotonic()
                _log.info("decoded %d of %d images", len(found), len(paths))
        largest = [value if isinstance(value, int) else 0 for value in found]
        needed = bits or max(largest, default=0).bit_length() or 16
        again = [row for row, value in enumerate(largest) if value and needed != (bits or 16)]
        list(pool.map(lambda row: _decode_into(images[row], paths[row], needed), again))
    return Decoded(images, [text if isinstance(text, str) else None for text in found], needed)


def _decode_into(out: Tensor, path: str, bits: int) -> int | str:
    """The largest value of a 16-bit image, else 0; or why it cannot be read."""
    channels, height, width = out.shape
    try:
        picture = open_picture(path, (channels, height, width), bits)
        out.copy_(fitted(picture.image, (channels, height, width)))
    except Exception as error:  # each decoder fails in its own way
        return reason(error, path)
    return picture.largest


def decode_file(path: str, shape: tuple[int, int, int], bits: int = 16) -> Tensor:
    """One file as uint8 (C, H, W) of `shape`. Raises what PIL raises; `reason` words it."""
    return fitted(open_picture(path, shape, bits).image, shape)


def open_picture(path: str, shape: tuple[int, int, int], bits: int = 16) -> Picture:
    """One file, at least twice as large as `shape` if it is so. Raises as `decode_file` does."""
    _, height, width = shape
    if not stat.S_ISREG(os.stat(path).st_mode):  # reading a pipe would wait for ever
        raise OSError(errno.EINVAL, "a folder, pipe or device, and no regular file")
    with _opened(path) as file:
        whole = file.size
        file.draft(None, (2 * width, 2 * height))  # JPEG: skips detail that resizing would discard
        # A progressive JPEG is whole in memory however small it is decoded.
        if max(file.size[0] * file.size[1], whole[0] * whole[1] // 4) > _MOST_PIXELS:
            raise ValueError(
                f"{whole[0]:,} x {whole[1]:,} pixels are too many to decode; save it smaller than "
                f"{_MOST_PIXELS:,}, or as JPEG, which is reduced while it is read"
            )
        file.load()
        turn = _orientation(file)
        image = flatten_mode(file, bits)
        largest = _range(file)[1] if _is_wide(file) else 0
    if turn in _TURNS:
        image = image.transpose(_TURNS[turn])
    return Picture(image, whole[::-1] if turn >= 5 else whole, largest)


def _opened(path: str) -> Image.Image:
    try:
        return Image.open(path, formats=_FORMATS)
    except Image.DecompressionBombError:
        with suppress(SyntaxError):  # it is no JPEG
            return JpegImagePlugin.JpegImageFile(path)
        raise


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the EXIF is damaged or says something else: the pixels are what counts."""
    try:
        found: Any = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # each damage in its own way
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


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


def upright(image: Image.Image, bits: int = 16) -> Image.Image:
    """An image in memory of any PIL mode as L or RGB, turned as its EXIF says."""
    flat, turn = flatten_mode(image, bits), _orientation(image)
    return flat.transpose(_TURNS[turn]) if turn in _TURNS else flat


def _is_wide(image: Image.Image) -> bool:
    return image.mode == "I" or image.mode.startswith("I;16")


def _range(image: Image.Image) -> tuple[int, int]:
    low, high = image.convert("I").getextrema()
    return int(low), int(high)  # type: ignore[arg-type]


def flatten_mode(image: Image.Image, bits: int = 16) -> Image.Image:
    """Any PIL mode to L or RGB: 16 bits scaled to 8, transparency laid over white.

    Args:
        image: of any mode.
        bits: that 16-bit pixels use: 2^bits - 1, and what is above, is white.

    Raises:
        ValueError: the pixels have no stated range.
    """
    if _is_wide(image):
        low, high = _range(image)
        if not 0 <= low <= high < 2**16:
            raise ValueError(f"integers from {low} to {high}, expected 0 to 65535")
        scale = 255 / (2**bits - 1)
        return image.convert("I").point(lambda value: value * scale + 0.5).convert("L")
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
        return f"more pixels than can be decoded; save it smaller than {_MOST_PIXELS:,}"
    text = str(error).replace(repr(path), "").strip() or type(error).__name__
    return text.splitlines()[0][:160]
