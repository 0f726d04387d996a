"""The search space: what a command's overrides say of it, and those of each trial."""

import math
from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dlrun.config.signature import computes
from dlrun.tuning.parameters import Choices, Parameter, read_parameter

_NOT_SEARCHED = ("hydra", "sweep.", "tune.")
"""Beginnings of keys that are of the study and not of its trials."""


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
                parts.append(read_parameter(override))
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
