"""The data set on board: the first 400 train and 100 test images of each Fashion-MNIST class.

Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; MIT, the notice is beside the files. Grey 28 x 28.
"""

from pathlib import Path
from typing import Any

from dlrun.data.sources.base import DataSource, Splits

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
        from dlrun.data.sources.idx import read_idx
        from dlrun.data.table import Table

        def split(name: str) -> Table:
            images = read_idx(FOLDER / f"{name}-images-idx3-ubyte.gz")
            labels = read_idx(FOLDER / f"{name}-labels-idx1-ubyte.gz")
            return Table(images[:, None], labels.long())

        return Splits(split("train"), split("t10k"), FASHION_CLASSES)
