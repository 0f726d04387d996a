"""Embeddings: like ones near each other, unlike ones apart (the lecture notes' 4.9 and 4.10)."""

from typing import Annotated

from torch import Tensor
from torch.nn import functional as F

from dlrun.losses.base import loss
from dlrun.options import Positive, Range

# Under a root, whose slope at 0 is infinite: equal embeddings are 1e-6 apart.
ROOT_EPS = 1e-12


@loss("triplets")
def triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: Positive, squared: bool
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


@loss("triplets")
def contrastive(anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: Positive) -> Tensor:
    """`1/2 d(a, p)^2 + 1/2 max(0, margin - d(a, n))^2`, d the Euclidean distance.

    A triplet's two pairs by Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning
    an invariant mapping", equation 4. The lecture notes' 4.10 lacks the brackets, so that its
    1/(2N) seems to cover the first term only, and unlike pairs would be neither halved nor
    averaged.

    Of three times (N, D): (N,), float32.
    """
    short = F.relu(margin - _distance(anchor, negative, squared=False))
    return _distance(anchor, positive, squared=True) / 2 + short.square() / 2


@loss("triplets")
def cosine_embedding(
    anchor: Tensor, positive: Tensor, negative: Tensor, *, margin: Annotated[float, Range(-1, 1)]
) -> Tensor:
    """`1 - cos(a, p) + max(0, cos(a, n) - margin)`: a triplet's two pairs by their angles.

    Torch's CosineEmbeddingLoss with the targets 1 and -1. Of three times (N, D): (N,), float32.
    """
    near, far = (
        F.cosine_similarity(anchor.float(), x.float(), dim=1) for x in (positive, negative)
    )
    return 1 - near + F.relu(far - margin)


@loss("vectors")
def cosine(p: Tensor, z: Tensor) -> Tensor:
    """`|p/|p| - z/|z||^2 = 2 - 2 cos(p, z)` (Grill et al. 2020, arXiv 2006.07733, equation 2).

    The lecture notes' H divides by `|q| * |t|` without brackets around the product, which
    multiplies by the second norm; what is meant is the quotient by both, as here.

    Of vectors (B, D) and (B, D): (B,) in [0, 4], float32 also where they are not.
    """
    p, z = F.normalize(p.float(), dim=1), F.normalize(z.float(), dim=1)
    return 2 - 2 * (p * z).sum(1)


def _distance(x: Tensor, y: Tensor, squared: bool) -> Tensor:
    """Euclidean, of (N, D) and (N, D): (N,), float32."""
    total = (x.float() - y.float()).square().sum(1)
    return total if squared else (total + ROOT_EPS).sqrt()
