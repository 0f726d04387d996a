"""Optimizers by name. Their options are checked without torch, which is imported to build one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from dlrun.options import Choice, Fraction, NonNegative, Positive, Range
from dlrun.registry import lookup

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Beta = Annotated[float, Range(0, 1, high_open=True)]


class OptimizerKind(Protocol):
    """What the registry's names in the group `optimizer` stand for."""

    Config: type
    reference_batch: ClassVar[int | None]
    """The batch for which `lr` is stated; scaled linearly to the run's. None: as it is."""

    @staticmethod
    def build(groups: list[dict[str, Any]], config: Any, lr: float, fused: bool) -> "Optimizer":
        """Over parameter groups that carry their own weight decay."""


@dataclass(frozen=True)
class BaseConfig:
    """Options of every optimizer."""

    lr: Positive
    weight_decay: NonNegative
    clip_norm: Positive | None


class SGD:
    """Stochastic gradient descent with momentum."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        momentum: Fraction
        nesterov: bool

    reference_batch = None

    @staticmethod
    def build(groups: list[dict[str, Any]], config: Config, lr: float, fused: bool) -> "Optimizer":
        """torch.optim.SGD."""
        from torch import optim

        nesterov = config.nesterov and config.momentum > 0
        return optim.SGD(groups, lr=lr, momentum=config.momentum, nesterov=nesterov, fused=fused)


class Adam:
    """Kingma and Ba 2015."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        betas: tuple[Beta, Beta]
        eps: Positive

    reference_batch = None

    @staticmethod
    def build(groups: list[dict[str, Any]], config: Config, lr: float, fused: bool) -> "Optimizer":
        """torch.optim.Adam."""
        from torch import optim

        return optim.Adam(groups, lr=lr, betas=config.betas, eps=config.eps, fused=fused)


class AdamW(Adam):
    """Loshchilov and Hutter 2019."""

    @staticmethod
    def build(
        groups: list[dict[str, Any]], config: Adam.Config, lr: float, fused: bool
    ) -> "Optimizer":
        """torch.optim.AdamW."""
        from torch import optim

        return optim.AdamW(groups, lr=lr, betas=config.betas, eps=config.eps, fused=fused)


class LARS:
    """You, Gitman and Ginsburg 2017."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        momentum: Fraction
        trust: Positive

    reference_batch = 256

    @staticmethod
    def build(groups: list[dict[str, Any]], config: Config, lr: float, fused: bool) -> "Optimizer":
        """Our own; torch has none."""
        from dlrun.training.lars import LARS as Implementation

        return Implementation(groups, lr=lr, momentum=config.momentum, trust=config.trust)


def build_optimizers(
    choice: Choice, parameters: "dict[str, Iterable[nn.Parameter]]", batch: int, fused: bool
) -> "dict[str, Optimizer]":
    """One optimizer for each of a method's parameter groups, over what is not frozen.

    Biases and norms (one dimension or none) get neither weight decay nor, under LARS, a rate of
    their own; they are told by their shape, since names like 'bn' miss some.
    """
    kind: OptimizerKind = lookup("optimizer", choice.name)
    options = choice.options
    lr = options.lr * (batch / kind.reference_batch if kind.reference_batch else 1)
    optimizers = {}
    for name, group in parameters.items():
        trained = [p for p in group if p.requires_grad]
        weights = {
            "params": [p for p in trained if p.ndim > 1],
            "weight_decay": options.weight_decay,
        }
        vectors = {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0}
        if choice.name == "lars":
            weights["adapt"], vectors["adapt"] = True, False
        filled = [entry for entry in (weights, vectors) if entry["params"]]
        optimizers[name] = kind.build(filled, options, lr, fused)
    return optimizers
