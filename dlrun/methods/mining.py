"""Which triplets are mined from a batch: an anchor, a positive of its class, and a negative."""

from typing import Literal

import torch
from torch import Tensor

Mining = Literal["random", "hard", "semihard"]


@torch.no_grad()
def mine(embedding: Tensor, label: Tensor, how: Mining) -> tuple[Tensor, Tensor, Tensor]:
    """One triplet for each image of the batch that has a positive and a negative there.

    `random`: both drawn uniformly. `hard`: the farthest positive and the nearest negative, batch
    hard (Hermans et al. 2017, arXiv 1703.07737, section 2). `semihard`: a positive drawn
    uniformly, and the nearest negative that is farther than it (Schroff et al. 2015, FaceNet, arXiv
    1503.03832, section 3.2); where none is farther, the farthest negative.

    Args:
        embedding: (B, D), any float type; compared by Euclidean distance in float32.
        label: int64 (B,).
        how: see above. Draws come from the default generator.

    Returns:
        Rows of the anchors, positives and negatives, int64 (N,) each, 0 <= N <= B.
    """
    same = label[:, None] == label
    positive, negative = same.fill_diagonal_(False), label[:, None] != label
    anchor = (positive.any(1) & negative.any(1)).nonzero()[:, 0]
    positive, negative = positive[anchor], negative[anchor]
    if how == "random":
        return anchor, _drawn(positive), _drawn(negative)
    distance = distances(embedding)[anchor]
    if how == "hard":
        return anchor, _farthest(distance, positive), _nearest(distance, negative)
    p = _drawn(positive)
    farther = negative & (distance > distance.gather(1, p[:, None]))
    semihard, easiest = _nearest(distance, farther), _farthest(distance, negative)
    return anchor, p, semihard.where(farther.any(1), easiest)


def distances(embedding: Tensor) -> Tensor:
    """Euclidean, each to each, float32 (B, B): exactly 0 between equal rows of (B, D)."""
    x = embedding.float()
    # By products of matrices it would be faster, and off by 1e-3 where two are near.
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def _drawn(allowed: Tensor) -> Tensor:
    """For each row of (N, B), one of the allowed columns, uniformly."""
    score = torch.rand(allowed.shape, device=allowed.device)
    return _farthest(score, allowed)


def _farthest(distance: Tensor, allowed: Tensor) -> Tensor:
    return distance.masked_fill(~allowed, -1).argmax(1)


def _nearest(distance: Tensor, allowed: Tensor) -> Tensor:
    return distance.masked_fill(~allowed, torch.inf).argmin(1)
