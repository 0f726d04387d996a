"""What a data set is: options, and a way to read its two splits."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from dlrun.options import NonEmpty, Range

if TYPE_CHECKING:
    from dlrun.data.table import Table


@dataclass(frozen=True)
class SourceConfig:
    """Options that every data set has."""

    val_fraction: Annotated[float, Range(0, 1, high_open=True)]
    domains: tuple[str, str] | None
    positive: NonEmpty | None


class Splits(NamedTuple):
    """What a data set gives: train and test with the same image shape, and the classes' names.

    All but the first three may be left out. `checksum` is then computed. `value_names` name the
    values of an attribute by their number, where they have names. `doubts` are columns that are no
    attributes because they may be classes or numbers, and why. `val` is the val split, None where
    it is to be held out of train; `held_out` says whether test is. `bits` are those that images of
    16 bits use. `places` are the folders of val and test, `left_out` says what was not read,
    `notes` are lines for people.
    """

    train: "Table"
    test: "Table"
    class_names: tuple[str, ...]
    checksum: str | None = None
    value_names: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    doubts: Mapping[str, str] = MappingProxyType({})
    notes: tuple[str, ...] = ()
    val: "Table | None" = None
    held_out: bool = False
    bits: int = 16
    places: Mapping[str, str] = MappingProxyType({})
    left_out: str = ""


class DataSource(ABC):
    """A data set. A subclass reads itself; splitting off val and what follows is done for it."""

    Config: ClassVar[type] = SourceConfig
    may_have_labels: ClassVar[bool] = True
    licence: ClassVar[str] = "not stated"
    """Under which its images may be used; stands in the card of what is exported."""

    def mirrors(self, config: Any) -> bool:
        """Whether a mirrored image is still one of its class, as of most things but digits."""
        return True

    @abstractmethod
    def load(self, config: Any, data_dir: Path) -> Splits:
        """The two splits.

        Args:
            config: the typed options.
            data_dir: where downloads and decoded images are kept.

        Raises:
            UserError: the data is not there or cannot be read; says what to place where.
        """
