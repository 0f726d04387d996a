"""The vocabulary in which a method, model, loss or data set declares the options it takes.

    @dataclass(frozen=True)
    class Config:
        tau: Fraction                 # EMA decay at the start
        predictor: Literal["mlp", "none"]

`dlrun.config.typed` reads these annotations, so a wrong value is reported before torch is imported.
"""

import re
import sys
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
        """Whether `value` is within the bounds."""
        if self.low is not None and (value < self.low or (self.low_open and value == self.low)):
            return False
        above = self.high is not None and (
            value > self.high or (self.high_open and value == self.high)
        )
        return not above

    def __str__(self) -> str:
        if self.high is None:
            return "" if self.low is None else f"{'>' if self.low_open else '>='} {self.low:g}"
        if self.low is None:
            return f"{'<' if self.high_open else '<='} {self.high:g}"
        before, after = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"in {before}{self.low:g}, {self.high:g}{after}"


@dataclass(frozen=True)
class Pattern:
    """A regular expression that a text must match completely, and its meaning for messages."""

    regex: str
    meaning: str

    def holds(self, value: str) -> bool:
        """Whether all of `value` matches."""
        return re.fullmatch(self.regex, value) is not None

    def __str__(self) -> str:
        return self.meaning


@dataclass(frozen=True)
class Expanded:
    """Marks a text as a path: ~ and $VARIABLES in it are expanded, wherever it was written."""


@dataclass(frozen=True)
class Group:
    """Marks a `Choice` as an option of this config group (`model`, `loss`, ...).

    `kind` is what its class must be, as `Method.model_kind` is for the method's main network.
    """

    name: str
    kind: str | None = None


@dataclass(frozen=True)
class Choice:
    """One option of a group: its registered name and its own options, typed by its `Config`."""

    name: str
    options: Any


_DURATION_UNITS = {
    "": "steps", "step": "steps", "steps": "steps", "epoch": "epochs", "epochs": "epochs",
    "ep": "epochs", "%": "%", "s": "s", "sec": "s", "min": "min",
}  # fmt: skip


@dataclass(frozen=True)
class Duration:
    """A length of training: 500 (optimizer steps), 2 epochs, 10% of the run, 30 s, 5 min."""

    amount: float
    unit: str

    @classmethod
    def parse(cls, value: Any) -> "Duration | None":
        """Of `500`, `'2 epochs'`, `'10%'`, `'30 s'` or `'5 min'`; None if it is none of these."""
        if isinstance(value, bool) or not isinstance(value, int | str):
            return None
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z%]*)\s*", str(value))
        unit = _DURATION_UNITS.get(match[2]) if match else None
        if match is None or unit is None:
            return None
        amount = float(match[1])
        finite = 0 < amount <= sys.float_info.max
        whole = unit != "steps" or amount.is_integer()
        return cls(amount, unit) if finite and whole else None

    def __str__(self) -> str:
        from decimal import Decimal  # a millisecond that few commands need

        # In full and without an exponent, so that it can be read back.
        amount = f"{Decimal(repr(self.amount)):f}".removesuffix(".0")
        return f"{amount}{'' if self.unit == '%' else ' '}{self.unit}"

    def steps(self, steps_per_epoch: int, total: int) -> int:
        """In optimizer steps, at least one. Raises ValueError for seconds and minutes."""
        scale = {"steps": 1.0, "epochs": steps_per_epoch, "%": total / 100}
        if self.unit not in scale:
            raise ValueError(f"{self} is a time, not a number of steps")
        return max(1, round(self.amount * scale[self.unit]))

    @property
    def seconds(self) -> float | None:
        """The seconds, if the unit is a time."""
        return {"s": self.amount, "min": 60 * self.amount}.get(self.unit)


@dataclass(frozen=True)
class Units:
    """The units that a `Duration` may have here."""

    allowed: tuple[str, ...]


@dataclass(frozen=True)
class Metric:
    """How a number of an evaluation is worded, compared and printed."""

    wording: str
    higher_is_better: bool | None = None
    """None: neither direction is better."""
    form: str = ".4g"
    """A format of Python's."""
    unit: str = ""
    trivial: str = ""
    """The baseline without training, if there is one."""

    @property
    def label(self) -> str:
        """'KL term, nats an image'."""
        return f"{self.wording}, {self.unit}" if self.unit else self.wording

    @property
    def arrow(self) -> str:
        """Which direction is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]

    def better(self, new: float, old: float | None) -> bool:
        """Whether `new` is an improvement; the first always is, NaN never."""
        if old is None or new != new:
            return new == new
        return new > old if self.higher_is_better else new < old


Fraction = Annotated[float, Range(0, 1)]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, low_open=True)]
Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
NonEmpty = Annotated[str, Pattern(r"(?s).*\S.*", "(not empty)")]
# Not empty, and no name in it longer than a file system takes.
_PATH = Pattern(r"(?s)(?=.*\S)[^/]{0,255}(/[^/]{0,255})*", "(a path)")
FilePath = Annotated[str, _PATH, Expanded()]
InSteps = Annotated[Duration, Units(("steps", "epochs", "%"))]
