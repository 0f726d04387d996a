"""What a study searches: the parameters and values that a command's overrides mean."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from dlrun.config.signature import computes

_NOT_SEARCHED = ("hydra", "sweep.", "tune.")
"""Beginnings of keys that belong to the study and not to its trials."""
_DECADE = 10.0
"""Bounds so much of a factor apart are drawn on a log scale unless a tag says otherwise."""
_MOST_VALUES = 10_000
_LISTED = 12  # values that are named one by one
_SCALES = {"log", "linear"}


@dataclass(frozen=True)
class Parameter:
    """A key with several values."""

    key: str
    """As typed in front of `=`."""
    distribution: BaseDistribution
    texts: Mapping[Any, str] = field(default_factory=dict)
    """From all that can be drawn to how it is typed, in order; empty for an interval. A range's
    floats are drawn by index, so that they are exactly Hydra's own."""
    scale: str = ""
    """How an interval is drawn, for people."""

    def text(self, drawn: Any) -> str:
        """The value behind `key=`, in full, so that it is read back as the same number."""
        return self.texts[drawn] if self.texts else repr(drawn)

    def short(self, drawn: Any) -> str:
        """The same for a table, with four digits."""
        return self.texts[drawn] if self.texts else f"{drawn:.4g}"

    def __str__(self) -> str:
        texts = list(self.texts.values())
        if len(texts) > _LISTED:
            return f"{self.key} one of {len(texts)} from {texts[0]} to {texts[-1]}"
        if texts:
            return f"{self.key} one of {', '.join(texts)}"
        assert isinstance(self.distribution, IntDistribution | FloatDistribution)
        kind = "an integer in" if isinstance(self.distribution, IntDistribution) else "in"
        low, high = self.distribution.low, self.distribution.high
        return f"{self.key} {kind} [{low:g}, {high:g}], drawn {self.scale}"


class Space:
    """What is searched, and the overrides that are the same in every trial."""

    def __init__(self, overrides: Sequence[str | Parameter]) -> None:
        self._overrides = overrides
        self.parameters = [part for part in overrides if isinstance(part, Parameter)]
        self.distributions = {part.key: part.distribution for part in self.parameters}

    def overrides(self, params: dict[str, Any]) -> list[str]:
        """The arguments of `dlrun train` for a trial with these `params`, in the typed order."""
        return [
            part if isinstance(part, str) else f"{part.key}={part.text(params[part.key])}"
            for part in self._overrides
        ]

    def examples(self) -> list[list[str]]:
        """Overrides of a trial, and of others with each choice of a method or of its options."""
        first = {
            p.key: next(iter(p.texts), getattr(p.distribution, "low", None))
            for p in self.parameters
        }
        others = [
            {**first, part.key: drawn}
            for part in self.parameters
            if part.key.startswith("method") and len(part.texts) <= _LISTED
            for drawn in list(part.texts)[1:]
        ]
        return [self.overrides(params) for params in (first, *others)]

    def label(self, params: dict[str, Any]) -> str:
        """What distinguishes a trial from the others, with short numbers."""
        return " ".join(f"{part.key}={part.short(params[part.key])}" for part in self.parameters)

    def grid(self) -> dict[str, list[Any]] | None:
        """All that can be drawn for each key; None where one of them is an interval."""
        grid = {part.key: list(part.texts) for part in self.parameters}
        return grid if all(grid.values()) else None


def read_space(overrides: Sequence[Override]) -> tuple[Space, list[str]]:
    """The space of a command, and everything that is wrong with it.

    Args:
        overrides: as a `Composer` has parsed them.
    """
    parts: list[str | Parameter] = []
    problems: list[str] = []
    for override in overrides:
        key, text = override.get_key_element(), override.input_line or ""
        own = key.startswith(_NOT_SEARCHED)
        if override.is_sweep_override():
            try:
                if own or not computes(key):
                    raise ValueError("does not change what a run computes, so it is not searched")
                parts.append(_parameter(key, override))
            except ValueError as error:
                problems.append(f"{text}: {error}")
        elif not own:
            parts.append(text)
    space = Space(parts)
    keys = [override.get_key_element() for override in overrides]
    for part in space.parameters:
        if keys.count(part.key) > 1:
            problems.append(f"{part.key}: given more than once; give a key that is searched once")
    return space, problems


def _parameter(key: str, override: Override) -> Parameter:
    """Raises ValueError where no value can be drawn."""
    sweep = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    if unknown := tags - _SCALES:
        raise ValueError(f"tag {', '.join(sorted(unknown))}: expected log or linear")
    if tags == _SCALES:
        raise ValueError("has the tags log and linear; expected one of them")
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None and sweep.end is not None
        return _interval(key, sweep.start, sweep.end, tags)
    if isinstance(sweep, RangeSweep):
        return _range(key, sweep, tags)
    if tags:
        raise ValueError("choices have no scale; a tag belongs to an interval or a range")
    return _choices(key, override.sweep_string_iterator())


def _choices(key: str, texts: Iterable[str]) -> Parameter:
    found = {text: text for text in texts}
    return Parameter(key, CategoricalDistribution(list(found)), found)


def _interval(key: str, low: float, high: float, tags: set[str]) -> Parameter:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("expected finite bounds")
    if low >= high:
        raise ValueError("expected the lower bound first and a higher one second")
    if "log" in tags and low <= 0:
        raise ValueError(f"a log scale needs bounds > 0, got {low:g}")
    log = "log" in tags if tags else low > 0 and high / low >= _DECADE
    scale = "on a log scale" if log else "evenly"
    if log and not tags:
        scale += f", as the bounds are a factor of {_DECADE:g} apart (tag(linear,...) draws evenly)"
    if isinstance(low, int) and isinstance(high, int):
        return Parameter(key, IntDistribution(low, high, log=log), scale=scale)
    return Parameter(key, FloatDistribution(low, high, log=log), scale=scale)


def _range(key: str, sweep: RangeSweep, tags: set[str]) -> Parameter:
    values = sorted(islice(sweep.range(), _MOST_VALUES + 1))
    if len(values) > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES} values; expected int(interval(a,b))")
    if len(values) < 2:
        return _choices(key, map(repr, values))
    if "log" in tags:
        if sweep.step not in (1, -1) or not isinstance(values[0], int):
            raise ValueError("a log scale is for intervals and ranges of integers in steps of 1")
        if values[0] <= 0:
            raise ValueError(f"a log scale needs values > 0, got {values[0]}")
        return _interval(key, values[0], values[-1], tags)
    if isinstance(values[0], int):
        distribution = IntDistribution(values[0], values[-1], step=values[1] - values[0])
        return Parameter(key, distribution, {value: repr(value) for value in values})
    texts = dict(enumerate(map(repr, values)))
    return Parameter(key, IntDistribution(0, len(values) - 1), texts)
