"""Translating image files into the other domain."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from dlrun.data.sources.decoding import open_picture, stretched
from dlrun.methods.abilities import Direction
from dlrun.use.model import TrainedModel
from dlrun.use.pictures import save, to_picture
from dlrun.use.stream import Read, stream

_BATCH = 32  # images: their translations wait for the disk
Size = tuple[int, int]
"""Width and height."""


def translate_files(
    model: TrainedModel,
    files: Mapping[str, Path],
    direction: Direction,
    advance: Callable[[int], None],
) -> list[Read[tuple[Tensor, Size]]]:
    """Translates images to files of the same sizes.

    Args:
        model: of an unpaired method.
        files: where the translation of each image goes.
        direction: of the translation.
        advance: is called with the number of images that are done.

    Returns:
        Those that could not be read.

    Raises:
        UserError: a file cannot be written.
    """

    def decode(path: str) -> tuple[Tensor, Size]:
        picture, size = open_picture(path, model.image_shape)
        return stretched(picture, model.image_shape), size

    unreadable = []
    with ThreadPoolExecutor() as pool:
        for batch in stream(list(files), decode, _BATCH):
            good = [(read.path, *read.value) for read in batch if read.value is not None]
            if good:
                table = torch.stack([pixels for _, pixels, _ in good])
                images = model.translations(table, direction)
                targets = [files[path] for path, _, _ in good]
                sizes = [size for _, _, size in good]
                list(pool.map(_save, images, sizes, targets))  # raises what they raise
            unreadable += [read for read in batch if read.value is None]
            advance(len(batch))
    return unreadable


def _save(image: Tensor, size: Size, path: Path) -> None:
    picture = to_picture(image)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    save(picture, path)
