"""The vocabulary in which a method, model, loss or data set declares the options it takes.

    @dataclass(frozen=True)
    class Config:
        tau: Fraction                 # EMA decay at the start
        predictor: Literal["mlp", "none"]

`dlrun.config.check` reads these annotations, so a wrong value is reported before torch is imported.
"""

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Range:
    """Bounds of a number. `low_open` and `high_open` exclude the bound itself."""

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside."""
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        above = self.high is not None and (
            value > self.high or (self.high_open and value == self.high)
        )
        return not above

    def __str__(self) -> str:
        if self.high is None:
            return f"{'>' if self.low_open else '>='} {self.low:g}"
        low = "-inf" if self.low is None else f"{self.low:g}"
        return f"in {'(' if self.low_open else '['}{low}, {self.high:g}{')' if self.high_open else ']'}"


@dataclass(frozen=True)
class Group:
    """Marks a `Choice` as an option of this config group (`model`, `loss`, ...)."""

    name: str


@dataclass(frozen=True)
class Choice:
    """One option of a group: its registered name and its own options, typed by its `Config`."""

    name: str
    options: Any


@dataclass(frozen=True)
class Duration:
    """A length of training: `500` (optimizer steps), `2 epochs`, `10%` of the run, `30 s`, `5 min`."""

    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{self.amount:g}{'' if self.unit == '%' else ' '}{self.unit}"

    def steps(self, steps_per_epoch: int, total: int) -> int:
        """In optimizer steps, at least one. Raises ValueError for seconds and minutes."""
        scale = {"steps": 1.0, "epochs": steps_per_epoch, "%": total / 100}
        if self.unit not in scale:
            raise ValueError(f"{self} is a time, not a number of steps")
        return max(1, round(self.amount * scale[self.unit]))

    @property
    def seconds(self) -> float | None:
        """In seconds, where the unit is a time."""
        return {"s": self.amount, "min": 60 * self.amount}.get(self.unit)


@dataclass(frozen=True)
class Units:
    """The units that a `Duration` may have here."""

    allowed: tuple[str, ...]


Fraction = Annotated[float, Range(0, 1)]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, low_open=True)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Network = Annotated[Choice, Group("model")]
"""A further network of a method: `model@method.discriminator=patchgan`."""
InSteps = Annotated[Duration, Units(("steps", "epochs", "%"))]
