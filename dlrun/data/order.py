"""In which order an epoch shows the images: a function of (seed, epoch).

`GroupOrder` is the P x K sampler of Hermans, Beyer and Leibe 2017, arXiv 1703.07737, section 2: a
batch of P classes with K images each.
"""

from functools import lru_cache

import torch
from torch import Tensor

from dlrun.randomness import generator, permutation

GROUP = 4  # K, as in the paper's experiments


class Order:
    """Shuffled passes over `indices`, the incomplete last batch of a pass left out.

    Args:
        indices: int64 (N,) rows of the table.
        length: draws in an epoch; above N, rows repeat, each pass in another order, so that a
            small domain keeps step with a large one.
        seed: the run's.
        purpose: keeps two orders of one run apart.
    """

    def __init__(self, indices: Tensor, length: int, seed: int, purpose: str) -> None:
        self.indices, self.length, self.seed, self.purpose = indices.cpu(), length, seed, purpose
        self.epoch = lru_cache(maxsize=2)(self._epoch)  # the rows of an epoch, int64 (length,)

    def _epoch(self, epoch: int) -> Tensor:
        n = len(self.indices)
        rounds = -(-self.length // n)
        drawn = [permutation(n, self.seed, self.purpose, epoch, r) for r in range(rounds)]
        return self.indices[torch.cat(drawn)[: self.length]]

    def batch(self, number: int, size: int) -> Tensor:
        """The rows of batch `number` counted from the start of the run, int64 (size,)."""
        epoch, i = divmod(number, self.length // size)
        return self.epoch(epoch)[i * size : (i + 1) * size]


def groups_per_class(labels: Tensor) -> Tensor:
    """How many groups the images of each class fill, int64 (C,), of int64 labels (N,)."""
    return -(-labels.bincount() // GROUP)


class GroupOrder(Order):
    """Passes over all images of `labels`, int64 (N,), every four rows in turn of one class.

    The images of each class are shuffled and cut into groups; a last group that is short is filled
    from the class's own beginning, so each image comes at least once and no group is mixed. A class
    of fewer than four images repeats them: the positive of a single image is another augmented view
    of it. A batch size that is a multiple of four gives whole groups.

    The groups of a class are spread evenly over the epoch, at random within its equal parts, so
    that a batch holds as many classes as it can. Where most images are of one class, a batch may
    still hold nothing else; no triplet can be made of it.
    """

    def __init__(self, labels: Tensor, seed: int, purpose: str) -> None:
        self.labels = labels.cpu()
        images, groups = self.labels.bincount(), groups_per_class(self.labels)
        owner = torch.arange(len(groups)).repeat_interleave(groups)
        turn = torch.arange(len(owner)) - (groups.cumsum(0) - groups)[owner]
        self.turn, self.turns = turn.double(), groups[owner]
        within = (GROUP * turn[:, None] + torch.arange(GROUP)) % images[owner, None]
        # Where the members of a group (G, 4) stand among all rows sorted by class.
        self.members = (images.cumsum(0) - images)[owner, None] + within
        super().__init__(torch.arange(len(labels)), self.members.numel(), seed, purpose)

    def _epoch(self, epoch: int) -> Tensor:
        rows = permutation(len(self.labels), self.seed, self.purpose, epoch, "rows")
        by_class = rows[self.labels[rows].argsort(stable=True)]
        random = generator(self.seed, self.purpose, epoch, "groups")
        jitter = torch.rand(len(self.turn), generator=random, dtype=torch.float64)
        order = ((self.turn + jitter) / self.turns).argsort()
        return by_class[self.members[order]].flatten()
