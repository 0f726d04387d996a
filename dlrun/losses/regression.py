"""Numbers against numbers (the lecture notes' 4.5 to 4.7), and logits against one-hot labels.

The modules take either: outputs (B,) against numbers (B,), or outputs (B, K) against class labels
(B,), whose one-hot rows are the numbers then, averaged over classes. Training on those goes about
as well as cross-entropy (Hui and Belkin 2021, arXiv 2006.07322).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.options import Positive


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """`(x - y)^2`. Of output and target, both (...): (...), float32."""
    return (output.float() - target.float()).square()


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """`|x - y|`. Of output and target, both (...): (...), float32."""
    return (output.float() - target.float()).abs()


def huber(output: Tensor, target: Tensor, delta: float) -> Tensor:
    """`e^2 / 2` up to |e| = delta, `delta (|e| - delta / 2)` beyond (Huber 1964), e = x - y.

    delta has the unit of the target. Of output and target, both (...): (...), float32.
    """
    return F.huber_loss(output.float(), target.float(), reduction="none", delta=delta)


class OfEach(nn.Module, ABC):
    """Gives `terms`, elementwise of outputs and targets, as one loss an image."""

    kind = ("logits", "values")

    @dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def terms(self, output: Tensor, target: Tensor) -> Tensor:
        """Of two of the same shape, (...): (...), float32."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Of (B,) and float (B,), or (B, K) and int64 (B,): one loss an image, (B,), float32."""
        terms = self.terms(output, _target(output, target))
        return terms if terms.ndim == 1 else terms.mean(1)


class SquaredError(OfEach):
    """`(x - y)^2`."""

    def terms(self, output: Tensor, target: Tensor) -> Tensor:
        """See `squared_error`."""
        return squared_error(output, target)


class AbsoluteError(OfEach):
    """`|x - y|`."""

    def terms(self, output: Tensor, target: Tensor) -> Tensor:
        """See `absolute_error`."""
        return absolute_error(output, target)


class Huber(OfEach):
    """Squared near zero, absolute beyond `delta`."""

    @dataclass(frozen=True)
    class Config(OfEach.Config):
        delta: Positive

    config: Config

    def terms(self, output: Tensor, target: Tensor) -> Tensor:
        """See `huber`."""
        return huber(output, target, self.config.delta)


def _target(output: Tensor, target: Tensor) -> Tensor:
    """In the output's shape.

    Raises:
        TypeError: the target is neither of a float type nor int64.
        ValueError: the shapes do not fit. Broadcasting (B, 1) against (B,) would compare each with
            each.
    """
    labels = target.dtype == torch.int64
    if not (labels or target.is_floating_point()):
        raise TypeError(f"got targets of type {target.dtype}, expected a float type or int64")
    expected = "(B, K) and int64 (B,)" if labels else "(B,) and (B,)"
    if output.ndim != 1 + labels or target.shape != output.shape[:1]:
        raise ValueError(
            f"got output {tuple(output.shape)} and {target.dtype} target {tuple(target.shape)}, "
            f"expected {expected}"
        )
    return F.one_hot(target, output.shape[1]) if labels else target
