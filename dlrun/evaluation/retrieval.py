"""Whether like images lie near: each image of a split asks all others of it, by cosine.

For embeddings of unit length the order by cosine is that by Euclidean distance; taking cosine for
all, features that were never normalised are judged alike.

An image whose class has no other image has nothing to find: it is no query, but is among what the
others look through. In a tie the images of other classes come first, so that features which are
all the same gain nothing by the order of the table.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.evaluation.features import full_precision

_CHUNK = 250  # queries; with 10,000 images 10 MB of cosines
_STEPS = 2**29  # of a cosine, between 0 and 1; float32 has no more than 2^24 near 1


def queries(labels: Tensor) -> Tensor:
    """Which images, bool (N,), have another one of their class, of int64 labels (N,)."""
    return labels.bincount()[labels] > 1


@full_precision
def recall_at_k(features: Tensor, labels: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """The share of queries with an image of their class among the k nearest.

    As in metric learning (Oh Song et al. 2016, arXiv 1511.06452); elsewhere recall is the share of
    the class that was found.

    Args:
        features: (N, D), float32.
        labels: int64 (N,).
        ks: each at least 1.

    Returns:
        In [0, 1] for each k; NaN where there is no query.
    """
    ahead = []  # how many images of other classes come before the first of the query's
    for cosine, hit in _compared(features, labels):
        first = cosine.masked_fill(~hit, -torch.inf).amax(1, keepdim=True)
        ahead.append((~(cosine < first) & ~hit).sum(1))  # of NaN, all of them
    counts = torch.cat(ahead) if ahead else torch.empty(0)
    return {k: float((counts < k).double().mean()) for k in ks}


@full_precision
def mean_average_precision(features: Tensor, labels: Tensor) -> float:
    """Over queries the mean of average precision: that of the precision at each image of the class.

    Manning, Raghavan and Schuetze 2008, "Introduction to information retrieval", section 8.4, over
    the whole list, not its beginning alone.

    Args:
        features: (N, D), float32.
        labels: int64 (N,).

    Returns:
        In (0, 1]; NaN where there is no query.
    """
    rank = torch.arange(1, len(labels) + 1, device=labels.device)
    found = [torch.empty(0, device=labels.device, dtype=torch.float64)]
    for cosine, hit in _compared(features, labels):
        # Sorting whole numbers with the hit in the last bit is faster than sorting with indices.
        cosine = cosine.nan_to_num(nan=-2, neginf=-2)
        keys = (cosine * _STEPS).int() * 2 + (~hit).int()
        hit = keys.sort(dim=1, descending=True).values % 2 == 0
        precision = hit.cumsum(1, dtype=torch.int32) / rank
        found.append((precision * hit).double().sum(1) / hit.sum(1))
    return float(torch.cat(found).mean())


def _compared(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Queries in parts: cosines (Q, N), -inf with itself, and which are of its class, (Q, N)."""
    x = F.normalize(features.float(), dim=1)
    for rows in queries(labels).nonzero()[:, 0].split(_CHUNK):
        itself = torch.arange(len(rows), device=rows.device), rows
        cosine, hit = x[rows] @ x.T, labels[rows, None] == labels
        cosine[itself], hit[itself] = -torch.inf, False
        yield cosine, hit
