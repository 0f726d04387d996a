"""The search space, in Hydra's sweep syntax: what may be drawn for each key, and what was."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from dlrun.config.signature import computes

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


class Space:
    """What is searched, and the overrides that are the same in every trial."""

    def __init__(self, overrides: Sequence[str | Parameter]) -> None:
        self._overrides = overrides
        self.parameters = [part for part in overrides if isinstance(part, Parameter)]

    def overrides(self, drawn: dict[str, Any]) -> list[str]:
        """What `dlrun train` would be given for a trial with these `params`, in the typed order."""
        return [
            part if isinstance(part, str) else f"{part.key}={part.text(drawn[part.key])}"
            for part in self._overrides
        ]

    def examples(self) -> list[list[str]]:
        """Overrides of a trial, and of others with each choice of a method or of its options."""
        first = {part.key: part.example for part in self.parameters}
        drawn = [first]
        for part in self.parameters:
            if isinstance(part, Choices) and part.key.startswith("method"):
                drawn += [{**first, part.key: text} for text in part.texts[1:]]
        return [self.overrides(one) for one in drawn]

    def label(self, drawn: dict[str, Any]) -> str:
        """What tells a trial from the others, with numbers that are short."""
        return " ".join(f"{part.key}={part.short(drawn[part.key])}" for part in self.parameters)

    def grid(self) -> dict[str, list[Any]] | None:
        """Every point of each key; None where one of them is an interval."""
        points = {part.key: part.points for part in self.parameters}
        found = {key: values for key, values in points.items() if values is not None}
        return found if len(found) == len(points) else None

    @property
    def size(self) -> int | None:
        """How many combinations there are."""
        grid = self.grid()
        return None if grid is None else math.prod(map(len, grid.values()))


_NOT_SEARCHED = ("hydra", "sweep.", "tune.")
"""Beginnings of keys that are of the study and not of its trials."""


def read_space(overrides: Sequence[str], loader: ConfigLoader) -> tuple[Space, list[str]]:
    """What the overrides of a command say, and everything that is wrong with it.

    Args:
        overrides: as typed. What Hydra cannot read is passed over; `config.explain` tells it.
        loader: of a `config_source`, which knows the options of groups.
    """
    parser = OverridesParser.create()
    parts: list[str | Parameter] = []
    problems: list[str] = []
    keys: list[str] = []
    all_read = True
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            all_read = False
            continue
        override.config_loader = loader  # which glob(...) asks
        key = override.get_key_element()
        keys.append(key)
        if override.is_sweep_override():
            try:
                if key.startswith(_NOT_SEARCHED) or not computes(key):
                    raise ValueError("has no part in what a run computes; nothing to search")
                parts.append(_parameter(override))
            except HydraException:  # it stands for nothing, say
                all_read = False
            except ValueError as error:
                problems.append(f"{text}: {error}")
        elif not key.startswith(_NOT_SEARCHED):
            parts.append(text)
    space = Space(parts)
    for part in space.parameters:
        if keys.count(part.key) > 1:
            problems.append(f"{part.key}: given more than once; a key that is searched is not")
    if not space.parameters and not problems and all_read:
        problems.append(
            "nothing to search: give a key several values, such as "
            "'optimizer.lr=interval(1e-4,1e-2)' or model=mlp,cnn"
        )
    return space, problems


def _parameter(override: Override) -> Parameter:
    """Raises ValueError where nothing can be drawn from it."""
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
