"""Lengths of capsules against class labels (Sabour, Frosst and Hinton 2017, arXiv 1710.09829)."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from dlrun.losses.base import loss
from dlrun.options import Fraction, NonNegative


def _check(options: Any) -> None:
    """Raises ValueError where the bounds are the wrong way round."""
    if options.lower > options.upper:
        raise ValueError(f"lower: got {options.lower:g}, expected at most upper, {options.upper:g}")


@loss("lengths", check=_check)
def margin(
    lengths: Tensor, labels: Tensor, *, upper: Fraction, lower: Fraction, down_weight: NonNegative
) -> Tensor:
    """`sum_k T_k max(0, m+ - |v_k|)^2 + lambda (1 - T_k) max(0, |v_k| - m-)^2` (equation 4).

    The lengths are taken as they are. A softmax of ten of them never exceeds e / (e + 9) = 0.23, so
    that m+ would be out of reach.

    Args:
        lengths: (B, K), in [0, 1).
        labels: int64 (B,).
        upper: m+, the length from which on the true class's capsule costs nothing.
        lower: m-, the length up to which another class's capsule costs nothing.
        down_weight: lambda, so that the many absent classes do not shrink all capsules at first.

    Returns:
        (B,), float32, summed over classes.
    """
    lengths = lengths.float()
    present = F.one_hot(labels, lengths.shape[1]).float()
    short, long = F.relu(upper - lengths).square(), F.relu(lengths - lower).square()
    return (present * short + down_weight * (1 - present) * long).sum(1)
