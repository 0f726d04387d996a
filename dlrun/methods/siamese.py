"""Siamese networks: an embedding in which distance means likeness.

Two (Bromley et al. 1993, "Signature verification using a Siamese time delay neural network"; with
the contrastive loss, Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an
invariant mapping") or three images (triplets: Schroff et al. 2015, FaceNet, arXiv 1503.03832) go
through one and the same network, and a loss pulls positives together and pushes negatives apart.
Batches hold a few images of each of many classes, and their triplets are mined in the batch
(Hermans et al. 2017, arXiv 1703.07737). With `method.positives=view` no labels are needed: the two
views of an image are positives, all other images negatives.

Otherwise than in FaceNet: one positive is drawn for each anchor, where they use all; a batch is 128
images, theirs 1,800. Otherwise than in Hermans et al.: the encoder is small and starts from random
weights, and the embedding is normalised, unless `method.normalize=false`.

Expect: recall@1 .879 ± .003 on Fashion-MNIST, .815 of raw pixels: dlrun train
recipe=fashion_siamese, 9 minutes of one core (docs/results.md).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import Batch, Grouped, TwoViews
from dlrun.errors import UserError
from dlrun.methods.base import Builder, Method, Update
from dlrun.options import Count

Mining = Literal["random", "hard", "semihard"]


class Siamese(Method):
    """An encoder and a linear projection, shared by anchor, positive and negative."""

    @dataclass(frozen=True)
    class Config:
        embedding: Count
        normalize: bool
        mining: Mining
        positives: Literal["class", "view"]

    view = Grouped
    model_kind = "encoder"
    loss_kind = "triplets"
    key_metric = "recall_at_1"
    parts: ClassVar[dict[str, str]] = {"backbone": "encoder."}

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        self.encoder = build.model()
        self.projection = nn.Linear(self.encoder.feature_dim, config.embedding)
        self.loss = build.loss()

    @classmethod
    def view_for(cls, config: Any) -> type[Batch]:
        """Images in groups of one class, or two views of each."""
        return TwoViews if config.positives == "view" else Grouped

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings (B, D), float32; on the unit sphere where they are normalised."""
        z: Tensor = self.projection(self.encoder(x)).float()
        return F.normalize(z, dim=1) if self.config.normalize else z

    def step(self, batch: Grouped | TwoViews, update: Update) -> dict[str, Tensor]:
        """Embed, mine, compare; 0 for a batch that has no triplet."""
        z, label = self._embedded(batch)
        a, p, n = mine(z, label, self.config.mining)
        losses = self.loss(z[a], z[p], z[n])
        triplets = max(len(a), 1)
        loss = losses.sum() / triplets
        update.minimize(loss)
        z = z.detach()
        return {
            "loss": loss,
            "violations": (losses > 0).sum() / triplets,
            "positive_distance": (z[a] - z[p]).norm(dim=1).sum() / triplets,
            "negative_distance": (z[a] - z[n]).norm(dim=1).sum() / triplets,
        }

    def _embedded(self, batch: Grouped | TwoViews) -> tuple[Tensor, Tensor]:
        """Embeddings (B, D), and labels (B,) that are equal for images that are alike."""
        if isinstance(batch, TwoViews):
            if len(batch.index) < 2:
                raise UserError(
                    "batch_size: got 1, but the negatives of a view are the other images of its "
                    "batch; expected an integer >= 2"
                )
            # Each view by itself: batch statistics are not shared.
            return torch.cat([self(batch.first), self(batch.second)]), batch.index.repeat(2)
        return self(batch.image), batch.label

    def embed(self, image: Tensor) -> Tensor:
        """The embedding (B, D)."""
        return self(image)


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
