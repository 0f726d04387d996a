"""Embeddings: like ones near each other, unlike ones apart (the lecture notes' 4.9 and 4.10)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.options import Positive

# Under a root, whose slope at 0 is infinite: equal embeddings are 1e-6 apart.
ROOT_EPS = 1e-12


def triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, squared: bool
) -> Tensor:
    """`max(0, d(a, p) - d(a, n) + margin)`.

    With `squared`, d is the squared Euclidean distance (Schroff et al. 2015, FaceNet, arXiv
    1503.03832, equation 3, and the lecture notes' 4.9); without, the distance itself, which
    collapses less readily (Hermans et al. 2017, arXiv 1703.07737). The margin is in d's unit.

    Of three times (N, D): (N,), float32.
    """
    near = _distance(anchor, positive, squared)
    far = _distance(anchor, negative, squared)
    return F.relu(near - far + margin)


def contrastive(x: Tensor, y: Tensor, same: Tensor, margin: float) -> Tensor:
    """`1/2 (s d^2 + (1 - s) max(0, margin - d)^2)`, d the Euclidean distance.

    Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant mapping",
    equation 4, whose Y is 1 - s. The lecture notes' 4.10 lacks the brackets, so that its 1/(2N)
    seems to cover the first term only, and unlike pairs would be neither halved nor averaged.

    Of x and y (N, D), and s (N,), 1 where they are like and 0 elsewhere: (N,), float32.
    """
    s = same.float()
    short = F.relu(margin - _distance(x, y, squared=False))
    return (s * _distance(x, y, squared=True) + (1 - s) * short.square()) / 2


def cosine_embedding(x: Tensor, y: Tensor, same: Tensor, margin: float) -> Tensor:
    """`1 - cos(x, y)` of like pairs, `max(0, cos(x, y) - margin)` of others.

    The lecture notes' and torch's CosineEmbeddingLoss. Of x and y (N, D), and same (N,), 1 or -1:
    (N,), float32.
    """
    cosine = F.cosine_similarity(x.float(), y.float(), dim=1)
    return torch.where(same > 0, 1 - cosine, F.relu(cosine - margin))


class Triplet(nn.Module):
    """`triplet`."""

    kind = "triplets"

    @dataclass(frozen=True)
    class Config:
        margin: Positive
        squared: bool

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Of three times (N, D): one loss a triplet, (N,), float32."""
        config = self.config
        return triplet(anchor, positive, negative, config.margin, config.squared)


class Contrastive(nn.Module):
    """`contrastive` of a triplet's two pairs, added."""

    kind = "triplets"

    @dataclass(frozen=True)
    class Config:
        margin: Positive

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Of three times (N, D): one loss a triplet, (N,), float32."""
        margin, like = self.config.margin, anchor.new_ones(len(anchor))
        pulled = contrastive(anchor, positive, like, margin)
        return pulled + contrastive(anchor, negative, 1 - like, margin)


def _distance(x: Tensor, y: Tensor, squared: bool) -> Tensor:
    """Euclidean, of (N, D) and (N, D): (N,), float32."""
    total = (x.float() - y.float()).square().sum(1)
    return total if squared else (total + ROOT_EPS).sqrt()
