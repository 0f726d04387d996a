"""Optimizers by name. Their options are checked without torch, which is imported to build one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from dlrun.errors import UserError
from dlrun.options import Choice, Fraction, NonNegative, Positive, Range
from dlrun.registry import lookup

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

Beta = Annotated[float, Range(0, 1, high_open=True)]


@dataclass(frozen=True)
class BaseConfig:
    """Options of every optimizer."""

    lr: Positive
    weight_decay: NonNegative
    clip_norm: Positive | None


class TorchOptimizer:
    """The class of torch.optim that has the same name; its options are torch's."""

    Config: ClassVar[Any]
    reference_batch: ClassVar[int | None] = None
    """The batch for which `lr` is stated; scaled linearly to the run's. None: as it is."""

    @classmethod
    def build(
        cls, groups: list[dict[str, Any]], config: Any, lr: float, fused: bool
    ) -> "Optimizer":
        """Over parameter groups that carry their own weight decay."""
        from torch import optim

        kind: type[Optimizer] = getattr(optim, cls.__name__)
        return kind(groups, lr=lr, fused=fused, **_own(config))  # type: ignore[call-arg]


class SGD(TorchOptimizer):
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


class Adam(TorchOptimizer):
    """Kingma and Ba 2015."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        betas: tuple[Beta, Beta]
        eps: Positive


class AdamW(Adam):
    """Loshchilov and Hutter 2019."""


class LARS:
    """You, Gitman and Ginsburg 2017; our own, since torch has none."""

    @dataclass(frozen=True)
    class Config(BaseConfig):
        momentum: Fraction
        trust: Positive

    reference_batch = 256

    @staticmethod
    def build(groups: list[dict[str, Any]], config: Config, lr: float, fused: bool) -> "Optimizer":
        """Biases and norms are not adapted."""
        from dlrun.training import lars

        flagged = [{**group, "adapt": group["params"][0].ndim > 1} for group in groups]
        return lars.LARS(flagged, lr=lr, **_own(config))


def _own(config: Any) -> dict[str, Any]:
    """The options that only this optimizer has."""
    common = {field.name for field in fields(BaseConfig)}
    return {f.name: getattr(config, f.name) for f in fields(config) if f.name not in common}


def build_optimizers(
    choice: Choice,
    parameters: "Mapping[str, Iterable[nn.Parameter]]",
    batch: int,
    fused: bool,
    own: Mapping[str, Choice] = MappingProxyType({}),
) -> "dict[str, Optimizer]":
    """One optimizer for each of a method's parameter groups, over what is not frozen.

    Biases and norms (one dimension or none) get no weight decay, and LARS does not adapt them;
    they are recognised by their shape, since names like 'bn' miss some.

    Args:
        choice: for every group without one in `own`.
        parameters: by the group's name.
        batch: images of one optimizer step.
        fused: whether torch's fused kernels are there.
        own: in place of `choice`, by the group's name.

    Raises:
        UserError: all parameters of a group are frozen, or `own` names an unknown group.
    """
    for name in own:
        if name not in parameters:
            raise UserError(
                f"optimizers() names {name!r}, but the method's parameter_groups() has "
                f"{', '.join(parameters)}"
            )
    return {
        name: _build(own.get(name, choice), name, group, batch, fused)
        for name, group in parameters.items()
    }


def _build(
    choice: Choice, name: str, parameters: "Iterable[nn.Parameter]", batch: int, fused: bool
) -> "Optimizer":
    kind = lookup("optimizer", choice.name)
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
    optimizer: Optimizer = kind.build([g for g in groups if g["params"]], options, lr, fused)
    return optimizer
