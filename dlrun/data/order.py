"""In which order an epoch shows the images: a function of (seed, epoch)."""

from functools import lru_cache

import torch
from torch import Tensor

from dlrun.randomness import permutation


class Order:
    """Shuffled passes over `indices`, the incomplete last batch of a pass left out.

    Args:
        indices: int64 (N,) rows of the table.
        length: draws in an epoch; more than N repeats, each repeat in an order of its own, so that
            a small domain keeps step with a large one.
        seed: the run's.
        purpose: keeps two orders of one run apart.
    """

    def __init__(self, indices: Tensor, length: int, seed: int, purpose: str) -> None:
        self.indices, self.length, self.seed, self.purpose = indices, length, seed, purpose
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def _epoch(self, epoch: int) -> Tensor:
        n = len(self.indices)
        rounds = -(-self.length // n)
        drawn = [permutation(n, self.seed, self.purpose, epoch, r) for r in range(rounds)]
        return self.indices[torch.cat(drawn)[: self.length]]

    def batch(self, number: int, size: int) -> Tensor:
        """The rows of batch `number` counted from the start of the run, int64 (size,)."""
        epoch, i = divmod(number, self.length // size)
        return self.epoch(epoch)[i * size : (i + 1) * size]
