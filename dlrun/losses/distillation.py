"""A student's output against its teacher's: `loss(student, teacher, labels)`, one loss an image.

No gradient goes to the teacher. The method adds `ce_weight * cross_entropy + kd_weight * loss`; the
two weights are the lecture notes' alpha and beta.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.losses.base import loss
from dlrun.options import NonNegative, Positive

Function = TypeVar("Function", bound=Callable[..., Tensor])

# Under a root and in front of a division: logits that are all alike are standardised to 0.
VARIANCE_EPS = 1e-12


@dataclass(frozen=True)
class Weights:
    """Of the cross-entropy with the labels, and of the loss."""

    ce_weight: NonNegative
    kd_weight: NonNegative


def distillation(
    compares: Literal["logits", "features", "maps"], regressor: bool = False
) -> Callable[[Function], Function]:
    """Makes a function a distillation loss.

    Args:
        compares: what it is given of the two networks.
        regressor: whether the student's feature goes through a trainable regressor to the
            teacher's shape first.
    """
    return loss("distillation", base=Weights, compares=compares, regressor=regressor)


@distillation("logits")
def kd(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: Positive, standardize: bool
) -> Tensor:
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))`, in nats: soft targets.

    Hinton et al. 2015, arXiv 1503.02531, section 2: soft targets have gradients that shrink as
    1/T^2, hence the factor, which the lecture notes' pseudo-code leaves out. Summed over classes,
    so its mean over the batch is what torch calls `batchmean`. With `standardize`, of the logits'
    z-scores (Sun et al. 2024, arXiv 2403.01427).

    Of logits (B, K) and (B, K), and labels, unused: (B,), float32.
    """
    if standardize:
        student, teacher = standardized(student), standardized(teacher)
    s, t = _log_softmax(student, temperature), _log_softmax(teacher.detach(), temperature)
    return _kl(t, s) * temperature**2


@distillation("logits")
def kd_cross_entropy(
    student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: Positive
) -> Tensor:
    """`-T^2 sum_k softmax(teacher / T)_k log softmax(student / T)_k`, in nats.

    Hinton et al. 2015, arXiv 1503.02531, and the reading of the lecture notes' pseudo-code in which
    its LossFn is a cross-entropy. It is `kd` plus the teacher's entropy, so the gradient is the
    same and the number is not. Of logits (B, K) and (B, K), and labels, unused: (B,), float32.
    """
    s, t = _log_softmax(student, temperature), _log_softmax(teacher.detach(), temperature)
    return -(t.exp() * s).sum(1) * temperature**2


@distillation("logits")
def dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: Positive,
    alpha: NonNegative,
    beta: NonNegative,
) -> Tensor:
    """`T^2 (alpha TCKD + beta NCKD)`, in nats (Zhao et al. 2022, arXiv 2203.08679, equation 7).

    TCKD is the divergence between the two's (p_t, 1 - p_t), true class t against the rest; NCKD is
    that among the other classes. Soft targets are TCKD + (1 - p_t) NCKD with the teacher's p_t
    (equation 6), so that a sure teacher all but switches NCKD off there.

    Args:
        student: logits (B, K).
        teacher: logits (B, K).
        labels: int64 (B,).
        temperature: divides both's logits.
        alpha: weight of TCKD.
        beta: weight of NCKD.

    Returns:
        (B,), float32.

    Raises:
        UserError: there is one class only, so that there are no others.
    """
    if student.shape[1] < 2:
        raise UserError(f"dkd: got {student.shape[1]} class, expected two or more")
    target_s, others_s = _halves(student.float() / temperature, labels)
    target_t, others_t = _halves(teacher.detach().float() / temperature, labels)
    divergence = alpha * _kl(target_t, target_s) + beta * _kl(others_t, others_s)
    return divergence * temperature**2


@distillation("features")
def kd_cosine(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """`1 - cos` of two hidden representations, flattened; in [0, 2].

    Where they differ, channels and pixels are averaged over neighbours to the smaller number. The
    PyTorch tutorial that the lecture notes follow pools the flattened map instead, which averages
    neighbouring pixels of a row and never two channels.

    Of vectors (B, D) and (B, D'), or maps (B, C, H, W) and (B, C', H', W'), and labels, unused:
    (B,), float32.

    Raises:
        ValueError: one is a vector and the other is a map, or neither.
    """
    if student.ndim != teacher.ndim or student.ndim not in (2, 4):
        raise _mismatch(student, teacher, "vectors (B, D) or two maps (B, C, H, W)")
    size = [min(sizes) for sizes in zip(student.shape[1:], teacher.shape[1:], strict=True)]
    s, t = _pooled(student.float(), size), _pooled(teacher.detach().float(), size)
    return 1 - F.cosine_similarity(s.flatten(1), t.flatten(1), dim=1)


@distillation("features", regressor=True)
def hint(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """`mean (teacher - student)^2` over all elements of an image's feature.

    Romero et al. 2015, FitNets, arXiv 1412.6550, equation 3, which has half the sum; of a mean, one
    weight fits features of all sizes. The student's comes through the regressor.

    Of two tensors of one shape (B, ...), and labels, unused: (B,), float32.

    Raises:
        ValueError: the shapes differ.
    """
    if student.shape != teacher.shape or student.ndim < 2:
        raise _mismatch(student, teacher, "of one shape (B, ...)")
    return (student.float() - teacher.detach().float()).square().flatten(1).mean(1)


@distillation("maps")
def attention(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Mean over positions of the squared difference of the two attention maps.

    A map is the squared activations, averaged over channels, of unit length (Zagoruyko and
    Komodakis 2017, arXiv 1612.03928, section 3.1; the difference is that of the authors' code,
    equation 2 has half its norm). The larger map is first averaged to the smaller one's size.

    Of (B, C, H, W) and (B, C', H', W'), and labels, unused: (B,), float32.

    Raises:
        ValueError: one of them is not a map.
    """
    if student.ndim != 4 or teacher.ndim != 4:
        raise _mismatch(student, teacher, "maps (B, C, H, W)")
    s, t = (x.float().square().mean(1, keepdim=True) for x in (student, teacher.detach()))
    size = [1, *(min(sizes) for sizes in zip(s.shape[2:], t.shape[2:], strict=True))]
    s, t = (F.normalize(_pooled(energy, size).flatten(1), dim=1) for energy in (s, t))
    return (s - t).square().mean(1)


def standardized(logits: Tensor) -> Tensor:
    """`(z - mean) / std` of each row (Sun et al. 2024, arXiv 2403.01427, algorithm 1).

    std divides by K, as in the paper; the authors' code divides by K - 1. A row of equal logits
    becomes zeros. Of logits (B, K): (B, K), float32.
    """
    logits = logits.float()
    # Without the common part first: of large, equal logits the mean is off by a rounding error.
    logits = logits - logits.detach().amax(1, keepdim=True)
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + VARIANCE_EPS).sqrt()


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    return (logits.float() / temperature).log_softmax(1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of rows of finite logarithms (B, K): (B,)."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


def _halves(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of z (B, K): log (p_t, 1 - p_t), (B, 2), and the others' log softmax, (B, K - 1)."""
    log_p = z.log_softmax(1)
    # From the next class around, which needs no masks and so no infinite logarithm.
    others = (labels[:, None] + torch.arange(1, z.shape[1], device=z.device)) % z.shape[1]
    rest = log_p.gather(1, others).logsumexp(1, keepdim=True)
    own = log_p.gather(1, labels[:, None])
    return torch.cat([own, rest], 1), z.gather(1, others).log_softmax(1)


def _pooled(x: Tensor, size: list[int]) -> Tensor:
    """(B, *sizes) averaged to (B, *size), each axis over neighbours."""
    channels, *space = size
    if list(x.shape[2:]) != space:
        x = F.adaptive_avg_pool2d(x, (space[0], space[1]))
    if x.shape[1] != channels:
        columns = x.unsqueeze(-1).flatten(2).transpose(1, 2)
        x = F.adaptive_avg_pool1d(columns, channels).transpose(1, 2).reshape(len(x), *size)
    return x


def _mismatch(student: Tensor, teacher: Tensor, expected: str) -> ValueError:
    shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
    return ValueError(f"got features {shapes}, expected two {expected}")
