"""The included data set: the first 400 train and 100 test images of each Fashion-MNIST class.

Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; MIT, the notice is beside the files. Grey 28 x 28.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.data.sources.base import DataSource, Splits
from dlrun.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FOLDER = Path(__file__).parent / "fashion_mini"


class FashionMini(DataSource):
    """4,000 train and 1,000 test images; needs no network."""

    licence = "MIT (Zalando SE)"

    def load(self, config: Any, data_dir: Path) -> Splits:
        """Reads the four files of the package."""
        from dlrun.data.table import Table

        def split(name: str) -> Table:
            images = read_idx(FOLDER / f"{name}-images-idx3-ubyte.gz")
            labels = read_idx(FOLDER / f"{name}-labels-idx1-ubyte.gz")
            return Table(images[:, None], labels.long())

        return Splits(split("train"), split("t10k"), FASHION_CLASSES)


def read_idx(path: Path) -> "Tensor":
    """A gzipped idx file of bytes (http://yann.lecun.com/exdb/mnist) as a uint8 tensor.

    Raises:
        UserError: it is not one, it is cut short, or it holds nothing.
    """
    import torch

    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a readable gzip file ({error})") from error
    rank = raw[3] if len(raw) > 4 else 0
    if raw[:3] != bytes((0, 0, 8)) or not 1 <= rank <= 4:
        raise UserError(f"{path}: not an idx file of unsigned bytes")
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    start = 4 + 4 * rank
    held = max(0, len(raw) - start)
    if held != math.prod(shape) or not held:
        raise UserError(f"{path}: holds {held} bytes, its header says {math.prod(shape)}")
    return torch.frombuffer(bytearray(raw[start:]), dtype=torch.uint8).view(shape)
