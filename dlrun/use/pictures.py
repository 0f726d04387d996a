"""Tensors and translated images to picture files, each whole or not at all."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from dlrun.data.sources.decoding import open_picture, stretched
from dlrun.errors import UserError
from dlrun.evaluation.pictures import grid
from dlrun.files import output_file
from dlrun.methods.abilities import Direction
from dlrun.use.model import TrainedModel
from dlrun.use.stream import Read, stream

Size = tuple[int, int]
"""Width and height."""
_BATCH = 32  # images to translate at a time: their translations wait for the disk
_QUALITY = {"quality": 95}  # of JPEG and WebP: shows the model, not the file format


def to_picture(image: Tensor) -> Image.Image:
    """From float (C, H, W) in [0, 1], C 1 or 3."""
    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu()
    height, width, channels = pixels.shape
    mode = "L" if channels == 1 else "RGB"
    return Image.frombytes(mode, (width, height), pixels.numpy().tobytes())


def with_ending(path: Path) -> Path:
    """`path`, with .png behind a name that no picture can be saved under."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    return path if kind in Image.SAVE else path.with_name(f"{path.name}.png")


def save(picture: Image.Image, path: Path, **options: Any) -> Path:
    """In the format of the path's ending.

    Raises:
        UserError: there is no such format, or it cannot be written.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or kind not in Image.SAVE:
        raise UserError(
            f"{path}: expected a name that ends in .png, .jpg or another picture format"
        )
    if kind in ("JPEG", "WEBP"):
        options = _QUALITY | options
    with output_file(path) as temporary:
        picture.save(temporary, format=kind, **options)
    return path


def save_grid(
    rows: Sequence[Tensor],
    path: Path,
    single: bool = False,
    is_walk: bool = False,
    gif: bool = False,
) -> list[Path]:
    """A picture of rows of images.

    Args:
        rows: each (N, C, H, W) in [0, 1].
        path: of the picture.
        single: whether to write each image too, in a folder of the same name.
        is_walk: whether the columns are steps of a walk.
        gif: whether a walk is also written as an animation.

    Returns:
        The paths of the files and of the folder.

    Raises:
        UserError: it cannot be written.
    """
    written = [save(to_picture(grid(rows)), path)]
    if is_walk and gif:
        steps = [*range(len(rows[0])), *range(len(rows[0]) - 2, 0, -1)]  # there and back
        first, *others = (
            to_picture(grid([row[step : step + 1] for row in rows])).convert("P") for step in steps
        )
        animation = {"save_all": True, "append_images": others, "duration": 100, "loop": 0}
        written.append(save(first, path.with_suffix(".gif"), **animation))
    if single:
        written.append(path.with_suffix(""))
        for i, row in enumerate(rows):
            for j, image in enumerate(row):
                name = f"{i:03d}-{j:03d}" if is_walk else f"{i * len(rows[0]) + j:05d}"
                save(to_picture(image), written[-1] / f"{name}.png")
    return written


def translate_files(
    model: TrainedModel,
    files: Mapping[str, Path],
    direction: Direction,
    advance: Callable[[int], None],
) -> list[Read[tuple[Tensor, Size]]]:
    """Translates images to files of the same sizes.

    Args:
        model: of an unpaired method.
        files: the path of each image's translation, by the image's path.
        direction: of the translation.
        advance: called with the number of images that were just done.

    Returns:
        The files that could not be read.

    Raises:
        UserError: a file cannot be written.
    """

    def decode(path: str) -> tuple[Tensor, Size]:
        picture = open_picture(path, model.image_shape, model.info.bits)
        return stretched(picture.image, model.image_shape), picture.size

    unreadable = []
    with ThreadPoolExecutor() as pool:
        for batch in stream(list(files), decode, _BATCH):
            good = [(read.path, *read.value) for read in batch if read.value is not None]
            if good:
                table = torch.stack([pixels for _, pixels, _ in good])
                images = model.translate(table, direction)
                targets = [files[path] for path, _, _ in good]
                sizes = [size for _, _, size in good]
                list(pool.map(_save, images, sizes, targets))  # list: so that errors are raised
            unreadable += [read for read in batch if read.value is None]
            advance(len(batch))
    return unreadable


def _save(image: Tensor, size: Size, path: Path) -> None:
    picture = to_picture(image)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    save(picture, path)
