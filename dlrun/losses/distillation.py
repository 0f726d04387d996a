"""What a student makes of an image against what its teacher makes of it.

`loss(student, teacher, labels)`, one loss an image. No gradient goes to the teacher. A module's
`ce_weight` and `kd_weight` are the lecture notes' alpha and beta: the method adds
`ce_weight * cross_entropy + kd_weight * loss`. `compares` says which tensors the module takes; the
functions of features and maps are in `dlrun.losses.hidden`.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.losses.hidden import attention_transfer, cosine_hidden, hint
from dlrun.options import NonNegative, Positive

# Under a root and in front of a division: logits that are all alike are standardised to 0.
VARIANCE_EPS = 1e-12


def soft_target_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`T^2 KL(softmax(teacher / T) || softmax(student / T))`, in nats.

    Hinton et al. 2015, arXiv 1503.02531, section 2: soft targets have gradients that shrink as
    1/T^2, hence the factor, which the lecture notes' pseudo-code leaves out. Summed over classes,
    so its mean over the batch is what torch calls `batchmean`.

    Of logits (B, K) and (B, K): (B,), float32.
    """
    s, t = _log_softmax(student, temperature), _log_softmax(teacher.detach(), temperature)
    return _kl(t, s) * temperature**2


def soft_target_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`-T^2 sum_k softmax(teacher / T)_k log softmax(student / T)_k`, in nats.

    Hinton et al. 2015, arXiv 1503.02531, and the reading of the lecture notes' pseudo-code in which
    its LossFn is a cross-entropy. It is `soft_target_kl` plus the teacher's entropy, so the
    gradient is the same and the number is not. Of logits (B, K) and (B, K): (B,), float32.
    """
    s, t = _log_softmax(student, temperature), _log_softmax(teacher.detach(), temperature)
    return -(t.exp() * s).sum(1) * temperature**2


def standardize(logits: Tensor) -> Tensor:
    """`(z - mean) / std` of each row (Sun et al. 2024, arXiv 2403.01427, algorithm 1).

    std divides by K, as in the paper; the authors' code divides by K - 1. A row of equal logits
    becomes zeros. Of logits (B, K): (B, K), float32.
    """
    logits = logits.float()
    # Without the common part first: of large, equal logits the mean is off by a rounding error.
    logits = logits - logits.detach().amax(1, keepdim=True)
    centred = logits - logits.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + VARIANCE_EPS).sqrt()


def decoupled(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float, beta: float
) -> Tensor:
    """`T^2 (alpha TCKD + beta NCKD)`, in nats (Zhao et al. 2022, arXiv 2203.08679, equation 7).

    TCKD is the divergence between the two's (p_t, 1 - p_t), true class t against the rest; NCKD is
    that among the other classes. Soft targets are TCKD + (1 - p_t) NCKD with the teacher's p_t
    (equation 6), so that a sure teacher all but switches NCKD off there.

    Args:
        student: logits (B, K).
        teacher: logits (B, K).
        labels: int64 (B,).
        temperature: above 0.
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


class Distillation(nn.Module):
    """What the losses of this file have in common."""

    kind = "distillation"
    compares: ClassVar[Literal["logits", "features", "maps"]] = "logits"
    regressor: ClassVar[bool] = False
    """Whether the student's feature comes through a trainable regressor, to the teacher's shape."""

    @dataclass(frozen=True)
    class Config:
        ce_weight: NonNegative
        kd_weight: NonNegative

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config


class SoftTargets(Distillation):
    """`soft_target_kl`, of standardised logits if so configured."""

    @dataclass(frozen=True)
    class Config(Distillation.Config):
        temperature: Positive
        standardize: bool

    config: Config

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and (B, K), and int64 labels (B,), unused: (B,), float32."""
        if self.config.standardize:
            student, teacher = standardize(student), standardize(teacher)
        return soft_target_kl(student, teacher, self.config.temperature)


class SoftCrossEntropy(Distillation):
    """`soft_target_cross_entropy`."""

    @dataclass(frozen=True)
    class Config(Distillation.Config):
        temperature: Positive

    config: Config

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and (B, K), and int64 labels (B,), unused: (B,), float32."""
        return soft_target_cross_entropy(student, teacher, self.config.temperature)


class Decoupled(Distillation):
    """`decoupled`."""

    @dataclass(frozen=True)
    class Config(Distillation.Config):
        temperature: Positive
        alpha: NonNegative
        beta: NonNegative

    config: Config

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Of logits (B, K) and (B, K), and int64 labels (B,): (B,), float32."""
        config = self.config
        return decoupled(student, teacher, labels, config.temperature, config.alpha, config.beta)


class CosineHidden(Distillation):
    """`cosine_hidden`."""

    compares = "features"

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Of two vectors (B, D) or maps (B, C, H, W), and labels, unused: (B,), float32."""
        return cosine_hidden(student, teacher)


class Hint(Distillation):
    """`hint`."""

    compares = "features"
    regressor = True

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Of two features of one shape (B, ...), and labels, unused: (B,), float32."""
        return hint(student, teacher)


class Attention(Distillation):
    """`attention_transfer`."""

    compares = "maps"

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Of two maps (B, C, H, W), and labels, unused: (B,), float32."""
        return attention_transfer(student, teacher)


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
