"""Optimizers by name. Their options are checked without torch, which is imported to build one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from dlrun.errors import UserError
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
    """Stochastic gradient descent with momentum (Sutskever et al. 2013), as in torch.

    With `maximize` the weights climb and still decay, while the listing in the lecture notes adds
    decay to the gradient first and so lets them grow: torch turns the gradient's sign before.
    """

    @dataclass(frozen=True)
    class Config(BaseConfig):
        momentum: Fraction
        dampening: Fraction
        nesterov: bool
        maximize: bool

        def __post_init__(self) -> None:
            if self.nesterov and self.momentum == 0:
                raise ValueError(
                    "nesterov needs a momentum above 0, got 0; set optimizer.nesterov=false"
                )
            if self.nesterov and self.dampening > 0:
                raise ValueError(
                    f"nesterov needs dampening 0, got {self.dampening:g}; set "
                    "optimizer.nesterov=false or optimizer.dampening=0"
                )

    reference_batch = None

    @staticmethod
    def build(groups: list[dict[str, Any]], config: Config, lr: float, fused: bool) -> "Optimizer":
        """torch.optim.SGD."""
        from torch import optim

        return optim.SGD(
            groups, lr=lr, momentum=config.momentum, dampening=config.dampening,
            nesterov=config.nesterov, maximize=config.maximize, fused=fused,
        )  # fmt: skip


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

        flagged = [{**group, "adapt": _is_weights(group)} for group in groups]
        return Implementation(flagged, lr=lr, momentum=config.momentum, trust=config.trust)


class Muon:
    """Jordan 2024: orthogonal steps for weights, AdamW's for biases and norms."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        momentum: Beta
        nesterov: bool
        adamw_lr: Positive
        betas: tuple[Beta, Beta]
        eps: Positive

    reference_batch = None

    @staticmethod
    def build(groups: list[dict[str, Any]], config: Config, lr: float, fused: bool) -> "Optimizer":
        """Our own; torch's is for matrices alone."""
        from dlrun.training.muon import Muon as Implementation

        flagged = [
            {**group, "orthogonal": True, "lr": lr}
            if _is_weights(group)
            else {**group, "orthogonal": False, "lr": config.adamw_lr}
            for group in groups
        ]
        return Implementation(
            flagged, lr, config.momentum, config.nesterov, config.betas, config.eps
        )


def build_optimizers(
    choice: Choice,
    parameters: "Mapping[str, Iterable[nn.Parameter]]",
    batch: int,
    fused: bool,
    own: Mapping[str, Choice] = MappingProxyType({}),
) -> "dict[str, Optimizer]":
    """One optimizer for each of a method's parameter groups, over what is not frozen.

    Biases and norms (one dimension or none) get no weight decay, under LARS no rate of their own
    and under Muon AdamW; they are told by their shape, since names like 'bn' miss some.

    Args:
        choice: for every group that has none of its own.
        parameters: by the group's name.
        batch: images of one optimizer step.
        fused: whether torch's fused kernels are there.
        own: instead of `choice`, by the group's name.

    Raises:
        UserError: nothing of a group is left to train, or `own` names a group that is not there.
    """
    for name in own:
        if name not in parameters:
            raise UserError(
                f"an optimizer of its own for {name!r}, but the method's parameter_groups() has "
                f"{', '.join(parameters)}"
            )
    return {
        name: _build(own.get(name, choice), name, group, batch, fused)
        for name, group in parameters.items()
    }


def _build(
    choice: Choice, name: str, parameters: "Iterable[nn.Parameter]", batch: int, fused: bool
) -> "Optimizer":
    kind: OptimizerKind = lookup("optimizer", choice.name)
    options = choice.options
    lr = options.lr * (batch / kind.reference_batch if kind.reference_batch else 1)
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        raise UserError(
            f"nothing is left to train in the method's parameters {name!r}: all of them are "
            "frozen; set model.freeze=null"
        )
    weights = [p for p in trained if p.ndim > 1]
    vectors = [p for p in trained if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return kind.build([group for group in groups if group["params"]], options, lr, fused)


def _is_weights(group: dict[str, Any]) -> bool:
    """Of the two that `build_optimizers` makes, by the shape of what is in it."""
    return bool(group["params"][0].ndim > 1)
