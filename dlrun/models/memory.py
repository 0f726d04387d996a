"""Remembers the outputs of a frozen network, which never change while the images do not."""

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """Keeps tensors by the row of their image. Not part of a checkpoint.

    After a resume it fills again, with the same values: in eval mode a network's output for an
    image does not depend on the others of its batch.

    Args:
        rows: of the table, N.
    """

    known: Tensor

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.register_buffer("known", torch.zeros(rows, dtype=torch.bool), persistent=False)

    def holds(self, index: Tensor) -> bool:
        """Whether every row of `index` (B,) is known."""
        return bool(self.known[index].all())

    def keep(self, index: Tensor, values: dict[str, Tensor]) -> None:
        """Keeps for each row of `index` (B,) its part of each of `values`, (B, ...)."""
        for name, value in values.items():
            if name not in self._buffers:
                room = value.new_empty(len(self.known), *value.shape[1:])
                self.register_buffer(name, room, persistent=False)
            self.get_buffer(name)[index] = value
        self.known[index] = True

    def recall(self, index: Tensor, name: str) -> Tensor:
        """What was kept as `name` for the rows of `index`, (B, ...)."""
        return self.get_buffer(name)[index]
