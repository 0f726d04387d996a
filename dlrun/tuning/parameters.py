"""What may be drawn for one key, in Hydra's sweep syntax, and how a drawn value is typed."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

if TYPE_CHECKING:
    from optuna.trial import Trial

_DECADE = 10.0
"""Bounds that are a factor of so much apart are drawn on a log scale where nothing is said."""
_MOST_VALUES = 10_000
_SCALES = {"log", "linear"}


@dataclass(frozen=True)
class Parameter(ABC):
    """A key with several values; `key` is as typed in front of `=`."""

    key: str

    @abstractmethod
    def draw(self, trial: "Trial") -> None:
        """Has the sampler choose a value, which the trial then has among its `params`."""

    @abstractmethod
    def text(self, value: Any) -> str:
        """How a drawn value is typed behind `key=`."""

    def short(self, value: Any) -> str:
        """The same for a table."""
        return self.text(value)

    @abstractmethod
    def line(self) -> str:
        """For a person."""

    @property
    @abstractmethod
    def example(self) -> Any:
        """One of the values that may be drawn."""

    @property
    def points(self) -> list[Any] | None:
        """All that can be drawn, for a grid; None where there is no end of them."""
        return None


@dataclass(frozen=True)
class Choices(Parameter):
    """`a,b,c`, choice(...) or glob(...): values without an order, as they are typed."""

    texts: tuple[str, ...]

    def draw(self, trial: "Trial") -> None:
        """One of them."""
        trial.suggest_categorical(self.key, self.texts)

    def text(self, value: Any) -> str:
        """As it is."""
        return str(value)

    def line(self) -> str:
        """The values."""
        return f"{self.key} one of {', '.join(self.texts)}"

    @property
    def example(self) -> str:
        """The first."""
        return self.texts[0]

    @property
    def points(self) -> list[Any]:
        """All of them."""
        return list(self.texts)


@dataclass(frozen=True)
class Interval(Parameter):
    """interval(low, high), both included; int(interval(...)) is of integers."""

    low: float
    high: float
    log: bool
    said: bool
    """Whether the scale was given by a tag."""

    @property
    def whole(self) -> bool:
        """Whether only integers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, trial: "Trial") -> None:
        """A number between the bounds."""
        if self.whole:
            trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        else:
            trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def text(self, value: Any) -> str:
        """In full, so that it is read back as the same number."""
        return repr(value)

    def short(self, value: Any) -> str:
        """Four digits."""
        return f"{value:.4g}"

    def line(self) -> str:
        """The bounds and the scale."""
        scale = "on a log scale" if self.log else "evenly"
        rule = ""
        if self.log and not self.said:
            rule = f", being a factor of {_DECADE:g} or more (tag(linear,...) draws evenly)"
        kind = "an integer in" if self.whole else "in"
        return f"{self.key} {kind} [{self.low:g}, {self.high:g}], drawn {scale}{rule}"

    @property
    def example(self) -> float:
        """The lower bound."""
        return self.low


@dataclass(frozen=True)
class Steps(Parameter):
    """range(start, stop, step): numbers in their order, without `stop`, as Hydra has them."""

    values: tuple[float, ...]
    """From the lowest on, two at least."""

    def draw(self, trial: "Trial") -> None:
        """The place of one of them, so that the numbers are exactly Hydra's own."""
        if self._whole:
            first, second, *_ = self.values
            trial.suggest_int(
                self.key, int(first), int(self.values[-1]), step=int(second) - int(first)
            )
        else:
            trial.suggest_int(self.key, 0, len(self.values) - 1)

    def text(self, value: Any) -> str:
        """The number of an integer, or at a place."""
        return repr(value if self._whole else self.values[value])

    def line(self) -> str:
        """The ends and how many there are."""
        return (
            f"{self.key} one of {len(self.values)} from {self.values[0]:g} to {self.values[-1]:g}"
        )

    @property
    def example(self) -> float:
        """The lowest."""
        return self.values[0] if self._whole else 0

    @property
    def points(self) -> list[Any]:
        """All that `draw` may give."""
        return list(self.values) if self._whole else list(range(len(self.values)))

    @property
    def _whole(self) -> bool:
        return all(isinstance(value, int) for value in self.values)


def read_parameter(override: Override) -> Parameter:
    """What several values stand for.

    Raises:
        HydraException: for nothing at all.
        ValueError: nothing can be drawn from them.
    """
    key, sweep = override.get_key_element(), override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    if unknown := tags - _SCALES:
        raise ValueError(f"tag {', '.join(sorted(unknown))}: expected log or linear")
    if tags == _SCALES:
        raise ValueError("tagged as log and as linear; expected one of them")
    if isinstance(sweep, IntervalSweep):
        return _interval(key, sweep.start, sweep.end, tags)
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep, tags)
    if tags:
        raise ValueError("choices have no scale; a tag belongs to an interval or a range")
    return _choices(key, list(override.sweep_string_iterator()))


def _choices(key: str, texts: list[str]) -> Choices:
    if not texts:
        raise HydraException("stands for nothing")
    return Choices(key, tuple(dict.fromkeys(texts)))


def _interval(key: str, low: Any, high: Any, tags: set[str]) -> Interval:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("expected bounds that are finite")
    if low >= high:
        raise ValueError("expected the lower bound first and a higher one second")
    if "log" in tags and low <= 0:
        raise ValueError(f"a log scale needs bounds > 0, got {low:g}")
    return Interval(key, low, high, _is_log(low, high, tags), said=bool(tags))


def _is_log(low: float, high: float, tags: set[str]) -> bool:
    if tags:
        return "log" in tags
    return low > 0 and high / low >= _DECADE


def _range(key: str, sweep: RangeSweep, tags: set[str]) -> Parameter:
    values = sorted(islice(sweep.range(), _MOST_VALUES + 1))
    if len(values) > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES} values; int(interval(a,b)) is meant for that")
    if len(values) < 2:
        return _choices(key, list(map(repr, values)))
    if "log" in tags:
        if sweep.step not in (1, -1) or not isinstance(values[0], int):
            raise ValueError("a log scale is for intervals and ranges of integers in steps of 1")
        if values[0] <= 0:
            raise ValueError(f"a log scale needs values > 0, got {values[0]}")
        return Interval(key, values[0], values[-1], log=True, said=True)
    return Steps(key, tuple(values))
