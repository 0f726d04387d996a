"""Scores (B, K) against class labels, int64 (B,): one loss an image, (B,), float32.

Logits, as in the lecture notes' 4.1 to 4.4, 4.11 and 4.12 (which sum over the batch in some
formulas and average in others; here that is left to the method), or lengths of capsules.
"""

from typing import Annotated, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.losses.base import loss
from dlrun.options import Fraction, NonNegative, Positive, Range

# Of a power below 1, the slope at 0 is infinite.
LEAST_BASE = torch.finfo(torch.float32).tiny


@loss("logits")
def cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    label_smoothing: Annotated[float, Range(0, 1, high_open=True)] = 0.0,
) -> Tensor:
    """`-sum_k y_k log softmax(logits)_k`, in nats, y the one-hot labels.

    With smoothing s, y is `(1 - s) onehot + s / K` (Szegedy et al. 2016, arXiv 1512.00567, section
    7). The notes' 4.4, the softmax loss, is this one; as written there it sums over every class and
    has no label in it.
    """
    return F.cross_entropy(
        logits.float(), labels, reduction="none", label_smoothing=label_smoothing
    )


@loss("logits")
def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Each class against the rest: K sigmoids, summed over classes, in nats."""
    one_hot = _one_hot(logits, labels)
    return F.binary_cross_entropy_with_logits(logits.float(), one_hot, reduction="none").sum(1)


@loss("logits")
def focal(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: NonNegative,
    alpha: Fraction | tuple[NonNegative, ...] | None = None,
) -> Tensor:
    """`-alpha_t (1 - p_t)^gamma log p_t`, p_t the softmax at the true class t.

    Lin et al. 2017, arXiv 1708.02002, equation 5, whose sigmoid of two classes is a softmax here.
    gamma = 0 is (weighted) cross-entropy.

    Args:
        logits: (B, K).
        labels: int64 (B,).
        gamma: the larger, the less the well classified images count.
        alpha: one weight for each of the K classes, which balances them; or a number, which scales
            the loss, as in the notes.

    Raises:
        UserError: there are not K weights.
    """
    log_p = logits.float().log_softmax(1).gather(1, labels[:, None])[:, 0]
    values = -_focus(-torch.expm1(log_p), gamma) * log_p
    if not isinstance(alpha, tuple):
        return values if alpha is None else alpha * values
    if len(alpha) != logits.shape[1]:
        raise UserError(
            f"loss.alpha: got {len(alpha)} weights, expected one for each of {logits.shape[1]} "
            "classes, a single number or null"
        )
    return torch.tensor(alpha, device=values.device)[labels] * values


@loss("logits")
def binary_focal(
    logits: Tensor, labels: Tensor, *, gamma: NonNegative, alpha: Fraction | None = None
) -> Tensor:
    """`-alpha_t (1 - p_t)^gamma log p_t` of each class against the rest, summed over classes.

    p is the sigmoid (Lin et al. 2017, arXiv 1708.02002, equation 5); p_t is p and alpha_t is alpha
    for the true class, 1 - p and 1 - alpha for the others; None leaves alpha_t out. The notes' 4.11
    has the first half only, so that an image without the class would cost nothing.
    """
    logits, y = logits.float(), _one_hot(logits, labels)
    missing = y * torch.sigmoid(-logits) + (1 - y) * torch.sigmoid(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, y, reduction="none")
    values = _focus(missing, gamma) * entropy
    if alpha is not None:
        values = (alpha * y + (1 - alpha) * (1 - y)) * values
    return values.sum(1)


@loss("logits")
def hinge(logits: Tensor, labels: Tensor, *, squared: bool) -> Tensor:
    """`max(0, 1 - y s)` of each class against the rest, as K support-vector machines; summed.

    Cortes and Vapnik 1995, "Support-vector networks". y is 1 for the true class and -1 for the
    others, which the notes' 4.12 leaves open: with 0, the others would cost 1 whatever their score.
    `squared` squares each term, which makes it smooth (Tang 2013, arXiv 1306.0239).
    """
    terms = F.relu(1 - (2 * _one_hot(logits, labels) - 1) * logits.float())
    return (terms.square() if squared else terms).sum(1)


@loss("logits")
def multi_margin(
    logits: Tensor, labels: Tensor, *, p: Literal[1, 2] = 1, margin: Positive = 1.0
) -> Tensor:
    """`1/K sum_{i != y} max(0, margin - z_y + z_i)^p`, torch's multi_margin_loss.

    Weston and Watkins 1998, "Multi-class support vector machines". The notes write
    `max 0, margin - ...^p` without brackets: the power is of the maximum, not of the last term.
    """
    logits = logits.float()
    short = F.relu(margin - logits.gather(1, labels[:, None]) + logits)
    own = F.one_hot(labels, logits.shape[1]).bool()
    return short.pow(p).masked_fill(own, 0).mean(1)


def _check_margins(options: Any) -> None:
    """Raises ValueError where lower is above upper."""
    if options.lower > options.upper:
        raise ValueError(f"lower: got {options.lower:g}, expected at most upper, {options.upper:g}")


@loss("lengths", check=_check_margins)
def margin(
    lengths: Tensor, labels: Tensor, *, upper: Fraction, lower: Fraction, down_weight: NonNegative
) -> Tensor:
    """`sum_k T_k max(0, m+ - |v_k|)^2 + lambda (1 - T_k) max(0, |v_k| - m-)^2`, capsules' lengths.

    Sabour, Frosst and Hinton 2017, arXiv 1710.09829, equation 4. There is no softmax: that of ten
    lengths never exceeds e / (e + 9) = 0.23, so that m+ would be out of reach.

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


def _focus(missing: Tensor, gamma: float) -> Tensor:
    """`missing^gamma`, missing = 1 - p_t, with a finite gradient at 0."""
    return missing.clamp_min(LEAST_BASE).pow(gamma)


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, logits.shape[1]).float()
