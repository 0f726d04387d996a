"""Images as whole tensors: no loader, no workers, a batch is an index."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from dlrun.errors import UserError
from dlrun.randomness import permutation
from dlrun.text import given, suggest

Pixels = Literal["unit", "symmetric", "standardized"]
"""What a network sees: [0, 1], [-1, 1], or zero mean and unit variance over the train split."""

LABEL = "label"
"""What the labels are called where a column is named: the classes' own names are its values."""
_SPLIT_SEED = 0  # fixed: runs with different seeds must be evaluated on the same images


@dataclass(frozen=True)
class Table:
    """One split of a data set.

    Attributes:
        images: uint8 (N, C, H, W), 0 to 255.
        labels: int64 (N,) class indices, or None where the images have none.
        attributes: further columns, each (N,): integers are classes, floats numbers.
    """

    images: Tensor
    labels: Tensor | None
    attributes: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises TypeError where a tensor is not as stated above."""
        images, labels = self.images, self.labels
        if not _is(images, torch.uint8) or images.ndim != 4:
            raise TypeError(
                f"Table.images: got {_typed(images)}, expected a tensor uint8 (N, C, H, W); of "
                "floats in [0, 1] that is (images * 255).round().byte()"
            )
        if labels is not None and not (_is(labels, torch.int64) and labels.shape == (len(self),)):
            raise TypeError(
                f"Table.labels: got {_typed(labels)}, expected a tensor int64 ({len(self)},), or "
                "None"
            )
        for name, column in self.attributes.items():
            if not isinstance(column, Tensor) or column.shape != (len(self),):
                raise TypeError(
                    f"Table.attributes: got {_typed(column)} for {name!r}, expected a tensor "
                    f"({len(self)},)"
                )
            if column.dtype == torch.bool or column.is_complex():
                raise TypeError(
                    f"Table.attributes: got {_typed(column)} for {name!r}, expected integers for "
                    "classes, such as column.long(), or floats for numbers"
                )

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, indices: Tensor, device: torch.device) -> Tensor:
        """uint8 images (B, C, H, W) of int64 `indices` (B,), on `device`, wherever the table is."""
        picked = self.images.index_select(0, indices.to(self.images.device))
        return picked.to(device, non_blocking=True)

    def subset(self, indices: Tensor) -> "Table":
        """The rows `indices`, in that order."""
        return self._each(lambda column: column[indices])

    def to(self, device: torch.device) -> "Table":
        """All columns on another device."""
        return self._each(lambda column: column.to(device))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Table":
        return Table(
            function(self.images),
            None if self.labels is None else function(self.labels),
            {name: function(column) for name, column in self.attributes.items()},
        )

    def column(self, name: str) -> Tensor:
        """The labels or an attribute, (N,)."""
        if name != LABEL:
            return self.attributes[name]
        assert self.labels is not None
        return self.labels

    def checksum(self) -> str:
        """sha256 of shape, images, labels and attributes: the data that a run saw."""
        digest = hashlib.sha256(str(tuple(self.images.shape)).encode())
        attributes = sorted(self.attributes.items())
        for name, column in (("", self.images), ("", self.labels), *attributes):
            if column is not None:
                digest.update(name.encode())
                digest.update(column.cpu().contiguous().numpy().data)
        return digest.hexdigest()


def _is(value: object, dtype: torch.dtype) -> bool:
    return isinstance(value, Tensor) and value.dtype == dtype


def _typed(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    return given(value) + (f" of {dtype}" if dtype is not None else "")


@dataclass(frozen=True)
class DataSet:
    """The three splits and what is known of all of them.

    `val` chooses the best epoch, `test` is touched once at the end. `mean` and `std`, each (C,) in
    units of [0, 1], are those of the train split. `positive` is the class that counts as positive,
    None where none does. `groups` are the columns whose combinations the test is reported for.
    `value_names` name the values of a column, where they have names. `bits` are those that images
    of 16 bits use. `report` is for people; its first line says what was understood.
    `doubts` are columns that were not read, as they may be classes or numbers, and why.
    `mirror` is whether a mirrored image is still one of its class, as of most things but digits.
    """

    name: str
    train: Table
    val: Table
    test: Table
    class_names: tuple[str, ...]
    domains: tuple[int, int] | None
    mean: Tensor
    std: Tensor
    checksum: str
    positive: int | None = None
    groups: tuple[str, ...] = ()
    value_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bits: int = 16
    report: tuple[str, ...] = ()
    doubts: Mapping[str, str] = field(default_factory=dict)
    mirror: bool = True

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many classes there are; 0 without labels."""
        return len(self.class_names)

    def combinations(self) -> Tensor:
        """The values of the columns `groups` that some image has, sorted, int64 (G, columns).

        Those of images of which a column is not known, -1, are left out.
        """
        columns = [
            torch.stack([table.column(name).cpu() for name in self.groups], 1)
            for table in (self.train, self.val, self.test)
        ]
        found: Tensor = torch.cat(columns).unique(dim=0)
        return found[(found >= 0).all(1)]

    def to(self, device: torch.device) -> "DataSet":
        """Every split on `device`."""
        return replace(
            self, train=self.train.to(device), val=self.val.to(device), test=self.test.to(device)
        )

    @property
    def bytes(self) -> int:
        """The size of the images."""
        return sum(len(t) for t in (self.train, self.val, self.test)) * self.train.images[0].numel()


def domain_rows(data: DataSet, split: str = "train") -> tuple[Tensor, Tensor]:
    """The rows of the two domains in a split, int64 each.

    Raises:
        UserError: the data set does not say which two classes they are, or one of them is empty.
    """
    if data.domains is None:
        raise UserError(
            f"dataset={data.name}: an unpaired method needs two domains; give two class names, "
            f"dataset.domains=[...,...], from {', '.join(data.class_names) or 'class folders'}"
        )
    labels = getattr(data, split).labels
    rows = tuple((labels == domain).nonzero()[:, 0].cpu() for domain in data.domains)
    for domain, found in zip(data.domains, rows, strict=True):
        if not len(found):
            raise UserError(
                f"dataset={data.name}: no {split} image of domain {data.class_names[domain]}"
            )
    return rows[0], rows[1]


def exact(values: Tensor) -> Tensor:
    """float64, on the CPU: not every device has float64."""
    return values.cpu().double()


def some_rows(n: int, most: int, purpose: str) -> Tensor:
    """At most `most` of n rows, int64, drawn once and for all: the first may be of one class."""
    return permutation(n, _SPLIT_SEED, purpose)[:most]


def no_column(
    key: str, name: str, known: Sequence[str], doubts: Mapping[str, str], expected: str
) -> UserError:
    """What to say of the column `name`, which is not among the `known` ones that are `expected`."""
    if name in doubts:
        return UserError(
            f"{key}: column {name} may be classes or numbers: {doubts[name]}; say which, "
            f"dataset.categories=[{name}] or dataset.numbers=[{name}]"
        )
    none = " (none: give a table beside the images, dataset.attributes, or a bias)"
    shown = suggest(name, list(known)) if known else none
    return UserError(f"{key}: {name!r} is not {expected}{shown}")


def hold_out(labels: Tensor | None, n: int, fraction: float, purpose: str) -> tuple[Tensor, Tensor]:
    """Rows that stay and rows held out, both sorted, int64.

    With labels the same fraction of each class is held out, at least one image of a class that has
    two. The same images whatever the run's seed.
    """
    groups = [torch.arange(n)]
    if labels is not None:
        groups = [(labels == c).nonzero()[:, 0] for c in labels.unique()]
    held = []
    for number, rows in enumerate(groups):
        count = min(len(rows) - 1, max(1, round(len(rows) * fraction))) if fraction > 0 else 0
        held.append(rows[permutation(len(rows), _SPLIT_SEED, purpose, number)[:count]])
    out = torch.cat(held).sort().values
    stays = torch.ones(n, dtype=torch.bool)
    stays[out] = False
    return stays.nonzero()[:, 0], out


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (C,) and (C,), of uint8 (N, C, H, W) in [0, 1].

    Computed from a histogram of the 256 grey values, so exact in float64 at any size.
    """
    channels = images.shape[1]
    grey = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack(
        [torch.bincount(images[:, c].flatten(), minlength=256) for c in range(channels)]
    ).double()
    weight = counts / counts.sum(1, keepdim=True)
    mean = weight @ grey
    variance = (weight * (grey - mean[:, None]) ** 2).sum(1)
    return mean.float(), variance.sqrt().clamp_min(1e-3).float()


@dataclass(frozen=True)
class PixelScale:
    """From uint8 to what a network sees, and back to [0, 1] for pictures and errors."""

    shift: Tensor
    scale: Tensor

    @classmethod
    def of(cls, pixels: Pixels, mean: Tensor, std: Tensor) -> "PixelScale":
        """`x = (unit - shift) / scale` with shift and scale (C,)."""
        if pixels == "standardized":
            return cls(mean, std)
        if pixels == "symmetric":
            return cls(torch.full_like(mean, 0.5), torch.full_like(std, 0.5))
        return cls(torch.zeros_like(mean), torch.ones_like(std))

    def to(self, device: torch.device) -> "PixelScale":
        """On another device."""
        return PixelScale(self.shift.to(device), self.scale.to(device))

    def from_unit(self, unit: Tensor) -> Tensor:
        """float [0, 1] (B, C, H, W) to the network's range; writes into its argument."""
        return unit.sub_(self.shift[:, None, None]).div_(self.scale[:, None, None])

    def from_bytes(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) to the network's range, float32."""
        return self.from_unit(images.float().div_(255))

    def to_unit(self, x: Tensor) -> Tensor:
        """The network's range to [0, 1], clamped, float32."""
        return (x.float() * self.scale[:, None, None] + self.shift[:, None, None]).clamp(0, 1)
