"""Data sets that torchvision downloads and verifies, kept in the cache folder."""

from pathlib import Path
from typing import Any, ClassVar

from dlrun.data.sources.base import DataSource, Splits
from dlrun.errors import UserError
from dlrun.files import DISK_ERRORS, exclusive, os_error_line


class _TorchvisionData(DataSource):
    """A torchvision data set with `train=` and `download=`."""

    torchvision_name: ClassVar[str]
    folder: ClassVar[str] = ""
    """Below data_dir, where torchvision looks."""
    files: ClassVar[tuple[str, ...]]
    """What to place there by hand where nothing can be downloaded."""

    def load(self, config: Any, data_dir: Path) -> Splits:
        """Downloads once, verifies, and reads.

        Raises:
            UserError: says what to place where, or what to delete.
        """
        import torch
        from torchvision import datasets  # a second of import that other data sets do not need

        from dlrun.data.table import Table

        kind = getattr(datasets, self.torchvision_name)
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            # Torchvision unpacks in place, and another process would read half of a file.
            with exclusive(data_dir / f".{self.torchvision_name}.lock"):
                splits = [
                    kind(str(data_dir), train=train, download=True) for train in (True, False)
                ]
        except Exception as error:  # network, checksum, damaged file: each in its own way
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise UserError(f"data_dir={data_dir}: {os_error_line(error)}") from error
            raise UserError(self._what_to_do(data_dir, error)) from error
        tables = []
        for split in splits:
            images = torch.as_tensor(split.data)
            # (N, H, W) grey or (N, H, W, C) colour, as torchvision keeps them
            images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
            tables.append(Table(images.contiguous(), torch.as_tensor(split.targets).long()))
        return Splits(tables[0], tables[1], tuple(splits[0].classes))

    @classmethod
    def missing(cls, data_dir: Path) -> list[str]:
        """Which of the files are not in the cache yet."""
        return [name for name in cls.files if not (data_dir / cls.folder / name).exists()]

    def _what_to_do(self, data_dir: Path, error: Exception) -> str:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else type(error).__name__  # of all mirrors, the last
        missing = self.missing(data_dir)
        if not missing:
            damaged = data_dir / (self.folder or self.files[0])
            return f"{damaged} is damaged ({reason}). Delete it and run again"
        return (
            f"{self.torchvision_name} could not be downloaded ({reason}). "
            f"Place {', '.join(missing)} in {data_dir / self.folder} yourself and run again, name "
            "another folder with data_dir=..., or use the included data: dataset=fashion_mini"
        )


_IDX_FILES = tuple(
    f"{split}-{kind}-ubyte.gz"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


_CIFAR_LICENCE = "none stated by its authors, who ask to be cited (Krizhevsky 2009)"


class MNIST(_TorchvisionData):
    """LeCun, Cortes and Burges 1998; 60,000 + 10,000 grey 28 x 28."""

    licence = "CC BY-SA 3.0"
    torchvision_name = "MNIST"
    folder = "MNIST/raw"
    files = _IDX_FILES

    def mirrors(self, config: Any) -> bool:
        """A mirrored digit is none."""
        return False


class FashionMNIST(_TorchvisionData):
    """Xiao et al. 2017, MIT; 60,000 + 10,000 grey 28 x 28."""

    licence = "MIT (Zalando SE)"
    torchvision_name = "FashionMNIST"
    folder = "FashionMNIST/raw"
    files = _IDX_FILES


class CIFAR10(_TorchvisionData):
    """Krizhevsky 2009; 50,000 + 10,000 colour 32 x 32."""

    licence = _CIFAR_LICENCE
    torchvision_name = "CIFAR10"
    files = ("cifar-10-python.tar.gz",)


class CIFAR100(_TorchvisionData):
    """Krizhevsky 2009; 50,000 + 10,000 colour 32 x 32, 100 classes."""

    licence = _CIFAR_LICENCE
    torchvision_name = "CIFAR100"
    files = ("cifar-100-python.tar.gz",)
