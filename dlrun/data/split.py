"""The val split: held out of the train split, the same images whatever the run's seed."""

import torch
from torch import Tensor

from dlrun.randomness import permutation

_SPLIT_SEED = 0  # fixed: runs with different seeds must be judged on the same images


def hold_out(labels: Tensor | None, n: int, fraction: float, purpose: str) -> tuple[Tensor, Tensor]:
    """Rows that stay and rows held out, both sorted, int64.

    With labels the same share of each class is held out (at least one image where a class has two),
    so that the classes stand in the held-out part as they stand in the whole.
    """
    groups = [torch.arange(n)]
    if labels is not None:
        groups = [(labels == c).nonzero()[:, 0] for c in labels.unique()]
    held = []
    for number, rows in enumerate(groups):
        count = min(len(rows) - 1, max(1, round(len(rows) * fraction))) if fraction > 0 else 0
        held.append(rows[permutation(len(rows), _SPLIT_SEED, purpose, number)[:count]])
    out = torch.cat(held).sort().values
    stays = torch.ones(n, dtype=torch.bool)
    stays[out] = False
    return stays.nonzero()[:, 0], out
