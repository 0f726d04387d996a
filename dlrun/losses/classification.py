"""Logits against class labels (the lecture notes' 4.1 to 4.4, 4.11 and 4.12).

The functions say what they return; the modules give one loss an image, (B,), float32. The notes sum
over the batch in some formulas and average in others; here that is left to the method.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.options import Fraction, NonNegative, Positive, Range

# The least probability whose logarithm is taken: a loss of 28 nats, a gradient of 1e12.
LEAST_PROBABILITY = 1e-12
# Of a power below 1, the slope at 0 is infinite.
LEAST_BASE = torch.finfo(torch.float32).tiny


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """`-sum_k y_k log softmax(logits)_k`, in nats, y the one-hot labels.

    With smoothing s in [0, 1), y is `(1 - s) onehot + s / K` (Szegedy et al. 2016, arXiv
    1512.00567, section 7). Of logits (B, K) and int64 labels (B,): (B,), float32.
    """
    return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)


def softmax_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """`-log(exp(z_y) / sum_j exp(z_j))`: cross-entropy without smoothing, from scores.

    The lecture notes' 4.4 sums `log softmax(z)_i` over every i and has no label in it; what is
    meant is the score of the true class in the numerator. Of logits (B, K) and int64 labels (B,):
    (B,), float32.
    """
    return -logits.float().log_softmax(1).gather(1, labels[:, None])[:, 0]


def categorical_cross_entropy(probabilities: Tensor, target: Tensor) -> Tensor:
    """`-sum_k y_k log p_k` of probabilities, not of logits (the lecture notes' 4.3).

    Of probabilities and target, one-hot or soft, both (B, K) with rows that sum to 1: (B,),
    float32. A p below 1e-12 counts as that, and has no gradient.
    """
    return -(target.float() * _log(probabilities.float())).sum(1)


def binary_cross_entropy(probabilities: Tensor, targets: Tensor) -> Tensor:
    """`-y log p - (1 - y) log(1 - p)` (the lecture notes' 4.2).

    Of probabilities and targets in [0, 1], both (...): (...), float32. A p or 1 - p below 1e-12
    counts as that, and has no gradient; training is better served by logits.
    """
    p, y = probabilities.float(), targets.float()
    return -y * _log(p) - (1 - y) * _log(1 - p)


def binary_cross_entropy_with_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """The same with p the sigmoid of a logit, exact also where p is 0 or 1 in float32.

    Of logits and targets in [0, 1], both (...): (...), float32.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")


def focal(
    logits: Tensor, labels: Tensor, gamma: float, alpha: tuple[float, ...] | None = None
) -> Tensor:
    """`-alpha_t (1 - p_t)^gamma log p_t`, p_t the softmax at the true class t.

    Lin et al. 2017, arXiv 1708.02002, equation 5, whose sigmoid of two classes is a softmax here.
    gamma = 0 is (weighted) cross-entropy.

    Args:
        logits: (B, K).
        labels: int64 (B,).
        gamma: 0 or above; how much less the well classified count.
        alpha: one weight for each of the K classes, or None for 1.

    Returns:
        (B,), float32.

    Raises:
        UserError: there are not K weights.
    """
    log_p = -softmax_loss(logits, labels)
    loss = -_focus(-torch.expm1(log_p), gamma) * log_p
    if alpha is None:
        return loss
    if len(alpha) != logits.shape[1]:
        raise UserError(
            f"loss.alpha: got {len(alpha)} weights, expected one for each of {logits.shape[1]} "
            "classes, a single number or null"
        )
    return torch.tensor(alpha, device=loss.device)[labels] * loss


def binary_focal(
    logits: Tensor, targets: Tensor, gamma: float, alpha: float | None = None
) -> Tensor:
    """`-alpha_t (1 - p_t)^gamma log p_t`, p the sigmoid (Lin et al. 2017, 1708.02002, equation 5).

    p_t is p and alpha_t is alpha where the target is 1, and 1 - p and 1 - alpha where it is 0; None
    leaves alpha_t out. The lecture notes' 4.11 sums over `y_i` alone, so that it has the first half
    only: an image without the class would cost nothing.

    Of logits and targets 0 or 1, both (...): (...), float32.
    """
    logits, y = logits.float(), targets.float()
    missing = y * torch.sigmoid(-logits) + (1 - y) * torch.sigmoid(logits)
    loss = _focus(missing, gamma) * binary_cross_entropy_with_logits(logits, y)
    return loss if alpha is None else (alpha * y + (1 - alpha) * (1 - y)) * loss


def hinge(scores: Tensor, signs: Tensor) -> Tensor:
    """`max(0, 1 - y s)` (Cortes and Vapnik 1995, "Support-vector networks").

    The signs y have to be -1 and 1, which the lecture notes' 4.12 leaves open: with 0 and 1 a 0
    costs 1 whatever its score. Of scores and signs, both (...): (...), float32.
    """
    return F.relu(1 - signs.float() * scores.float())


def multi_margin(logits: Tensor, labels: Tensor, p: int = 1, margin: float = 1.0) -> Tensor:
    """`1/K sum_{i != y} max(0, margin - z_y + z_i)^p`, torch's multi_margin_loss.

    Weston and Watkins 1998, "Multi-class support vector machines". The lecture notes write
    `max 0, margin - ...^p` without brackets: the power is of the maximum, not of the last term.

    Of logits (B, K) and int64 labels (B,), p 1 or 2: (B,), float32.
    """
    logits = logits.float()
    short = F.relu(margin - logits.gather(1, labels[:, None]) + logits)
    own = F.one_hot(labels, logits.shape[1]).bool()
    return short.pow(p).masked_fill(own, 0).mean(1)


class CrossEntropy(nn.Module):
    """Softmax cross-entropy, in nats.

    With label smoothing s the target is `(1 - s) onehot + s / K` (Szegedy et al. 2016, section 7).
    """

    kind = "logits"

    @dataclass(frozen=True)
    class Config:
        label_smoothing: Annotated[float, Range(0, 1, high_open=True)]

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and int64 labels (B,): one loss an image, (B,), float32."""
        return cross_entropy(logits, labels, self.config.label_smoothing)


class BinaryCrossEntropy(nn.Module):
    """Each class against the rest: K sigmoids, summed over classes, in nats."""

    kind = "logits"

    @dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, config: Config) -> None:
        super().__init__()

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and int64 labels (B,): one loss an image, (B,), float32."""
        return binary_cross_entropy_with_logits(logits, _one_hot(logits, labels)).sum(1)


class Focal(nn.Module):
    """`focal`: cross-entropy that counts the well classified less.

    A single alpha weighs all classes alike, as the lecture notes have it: it scales the loss and
    balances nothing. One alpha for each class balances.
    """

    kind = "logits"

    @dataclass(frozen=True)
    class Config:
        gamma: NonNegative
        alpha: Fraction | tuple[NonNegative, ...] | None

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and int64 labels (B,): one loss an image, (B,), float32."""
        gamma, alpha = self.config.gamma, self.config.alpha
        if alpha is None or isinstance(alpha, tuple):
            return focal(logits, labels, gamma, alpha)
        return alpha * focal(logits, labels, gamma)


class Hinge(nn.Module):
    """Each class against the rest, as K support-vector machines: summed over classes.

    `squared` squares each term, which makes it smooth (Tang 2013, arXiv 1306.0239).
    """

    kind = "logits"

    @dataclass(frozen=True)
    class Config:
        squared: bool

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and int64 labels (B,): one loss an image, (B,), float32."""
        terms = hinge(logits, 2 * _one_hot(logits, labels) - 1)
        return (terms.square() if self.config.squared else terms).sum(1)


class MultiMargin(nn.Module):
    """`multi_margin`: the true class's score has to exceed each other one's by the margin."""

    kind = "logits"

    @dataclass(frozen=True)
    class Config:
        p: Literal[1, 2]
        margin: Positive

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and int64 labels (B,): one loss an image, (B,), float32."""
        return multi_margin(logits, labels, self.config.p, self.config.margin)


def _log(p: Tensor) -> Tensor:
    return p.clamp_min(LEAST_PROBABILITY).log()


def _focus(missing: Tensor, gamma: float) -> Tensor:
    """`missing^gamma`, missing = 1 - p_t, with a finite gradient at 0."""
    return missing.clamp_min(LEAST_BASE).pow(gamma)


def _one_hot(logits: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, logits.shape[1]).float()
