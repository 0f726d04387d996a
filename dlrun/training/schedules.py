"""Learning rates as pure functions of the step, so that there is nothing to restore on resume."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Protocol

from dlrun.options import Choice, Fraction, InSteps, Positive, Range
from dlrun.registry import lookup

AtLeastOne = Annotated[float, Range(1)]


class Schedule(Protocol):
    """The interface of a schedule: one class for each name of the config group `schedule`."""

    Config: type
    of_run: ClassVar[bool]
    """Whether progress is that of the whole run, not of what follows the warm-up, as without it."""

    @staticmethod
    def factor(config: Any, progress: float) -> float:
        """The factor of the learning rate, at `progress` in [0, 1), after the warm-up."""


@dataclass(frozen=True)
class BaseConfig:
    """Options of every schedule."""

    warmup: InSteps | None


class Constant:
    """1."""

    Config = BaseConfig
    of_run: ClassVar[bool] = False

    @staticmethod
    def factor(config: BaseConfig, progress: float) -> float:
        """1."""
        return 1.0


class Cosine:
    """Loshchilov and Hutter 2017, equation 5 without restarts."""

    Config = BaseConfig
    of_run: ClassVar[bool] = False

    @staticmethod
    def factor(config: BaseConfig, progress: float) -> float:
        """From 1 to 0."""
        return (1 + math.cos(math.pi * progress)) / 2


class Linear:
    """Constant, then straight down."""

    of_run: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Config(BaseConfig):
        constant: Fraction

    @staticmethod
    def factor(config: Config, progress: float) -> float:
        """1, and from `constant` on down to 0."""
        return 1.0 if progress < config.constant else (1 - progress) / (1 - config.constant)


class Step:
    """Multiplied by `factor` at each milestone."""

    of_run: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Config(BaseConfig):
        milestones: tuple[Fraction, ...]
        factor: Positive

    @staticmethod
    def factor(config: Config, progress: float) -> float:
        """`factor` to the power of the milestones passed."""
        return float(config.factor ** sum(progress >= m for m in config.milestones))


class OneCycle:
    """Up and far down again (Smith and Topin 2019, arXiv 1708.07120).

    Both ways along half a cosine, as torch.optim.lr_scheduler.OneCycleLR does; the paper's are
    straight and its fall has a kink. The momentum stays as it is.
    """

    of_run: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Config(BaseConfig):
        rise: Fraction
        start_divisor: AtLeastOne
        final_divisor: AtLeastOne

    @staticmethod
    def factor(config: Config, progress: float) -> float:
        """From 1 / start_divisor up to 1 at `rise`, from there down to 1 / final_divisor."""
        if progress < config.rise:
            return _along_cosine(1 / config.start_divisor, 1.0, progress / config.rise)
        done = (progress - config.rise) / (1 - config.rise)
        return _along_cosine(1.0, 1 / config.final_divisor, done)


def _along_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2


def rate_factor(choice: Choice, step: int, total: int, steps_per_epoch: int) -> float:
    """The factor of the learning rate in optimizer step `step` (from 0) of `total`."""
    warmup = choice.options.warmup
    rise = min(total, warmup.steps(steps_per_epoch, total)) if warmup else 0
    if step < rise:
        return (step + 1) / rise
    kind: Schedule = lookup("schedule", choice.name)
    start = 0 if getattr(kind, "of_run", False) else rise
    return kind.factor(choice.options, (step - start) / max(1, total - start))
