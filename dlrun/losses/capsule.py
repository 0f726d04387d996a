"""Lengths of capsules against class labels (Sabour, Frosst and Hinton 2017, arXiv 1710.09829)."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.options import Fraction, NonNegative


def margin_loss(
    lengths: Tensor,
    labels: Tensor,
    upper: float = 0.9,
    lower: float = 0.1,
    down_weight: float = 0.5,
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


class Margin(nn.Module):
    """`margin_loss`: the true class's capsule long, each other one short."""

    kind = "lengths"

    @dataclass(frozen=True)
    class Config:
        upper: Fraction
        lower: Fraction
        down_weight: NonNegative

        def __post_init__(self) -> None:
            """Raises ValueError where the bounds are the wrong way round."""
            if self.lower > self.upper:
                raise ValueError(
                    f"lower: got {self.lower:g}, expected at most upper, {self.upper:g}"
                )

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, lengths: Tensor, labels: Tensor) -> Tensor:
        """Of lengths (B, K) and int64 labels (B,): one loss an image, (B,), float32."""
        c = self.config
        return margin_loss(lengths, labels, c.upper, c.lower, c.down_weight)
