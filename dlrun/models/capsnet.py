"""Capsules, routed by agreement, and the decoder that reconstructs an image from them.

Sabour, Frosst and Hinton 2017, arXiv 1710.09829, figures 1 and 2. A capsule is a vector: its length
is the chance that something is there, its direction says how it looks. For grey images of 28 pixels
and ten classes there are 1,152 primary capsules, and the network has 6,804,224 parameters, with the
decoder 8,215,568.

Every primary capsule has its own matrix for every class, so that weights and memory grow with the
number of positions: this is made for images of 28 or 32 pixels.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.options import Count

EPS = 1e-8  # under the root: its slope at 0 is infinite, and the gradient would be NaN


def squash(s: Tensor, dim: int) -> Tensor:
    """`|s|^2 / (1 + |s|^2)  s / |s|` (equation 1): the direction stays, the length is in [0, 1).

    Of vectors along `dim`: the same shape, float32. The gradient at 0 is 0.
    """
    s = s.float()
    squared = s.square().sum(dim, keepdim=True)
    return squared / (1 + squared) * s / (squared + EPS).sqrt()


def as_capsules(maps: Tensor, dim: int) -> Tensor:
    """Maps (B, types dim, H, W) as vectors (B, H W types, dim).

    A capsule is `dim` neighbouring channels at one position. Without the permutation it would be
    `dim` neighbouring pixels of one channel.
    """
    batch = maps.shape[0]  # len() would be a constant to torch.export
    return maps.permute(0, 2, 3, 1).reshape(batch, -1, dim)


def route(u_hat: Tensor, iterations: int) -> Tensor:
    """Routing by agreement (procedure 1): which class each primary capsule speaks for.

    The gradient goes through the last pass alone: the coupling is a constant to it, as in the
    authors' code.

    Args:
        u_hat: each primary capsule's prediction of each class capsule, (B, N, K, D). Fastest where
            a transpose to (B, K, N, D) is contiguous.
        iterations: softmaxes, at least 1, which couples all alike.

    Returns:
        The class capsules (B, K, D), float32.
    """
    votes = u_hat.transpose(1, 2)
    fixed = votes.detach()
    b = torch.zeros(votes.shape[:3], device=votes.device)  # for each image anew, not learnt
    for _ in range(iterations - 1):
        v = squash(_coupled(b, fixed), 2)
        b += (fixed @ v[..., None].to(fixed.dtype))[..., 0]
    return squash(_coupled(b, votes), 2)


def _coupled(b: Tensor, votes: Tensor) -> Tensor:
    """Lines 4 and 5: s (B, K, D) of logits b (B, K, N) and votes (B, K, N, D).

    The softmax is over the classes: a primary capsule shares itself out among them.
    """
    c = b.softmax(1).to(votes.dtype)
    return (c[:, :, None] @ votes)[:, :, 0]


class Capsules(nn.Module):
    """Image (B, C, H, W) to one capsule for each class (B, K, class_dim)."""

    kind = "capsules"

    @dataclass(frozen=True)
    class Config:
        channels: Count
        kernel: Count
        types: Count
        dim: Count
        class_dim: Count
        routing: Count

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        k = config.kernel
        if min(height, width) < 2 * k - 1:
            raise UserError(
                f"model=capsnet: images are {height} x {width}, too small for two convolutions of "
                f"{k} x {k}; expected sides of {2 * k - 1} pixels or more: set dataset.size, or "
                "model.kernel to less"
            )
        positions = prod((side - 2 * k + 1) // 2 + 1 for side in (height, width))
        primary = positions * config.types
        self.config, self.num_classes = config, num_classes
        self.class_dim = config.class_dim
        self.conv = nn.Conv2d(channels, config.channels, k)
        self.primary = nn.Conv2d(config.channels, config.types * config.dim, k, 2)
        # Of a sum over N: its size, and so the class capsules' length, does not depend on N. Larger
        # weights make all capsules long at first, smaller ones all but 0, where squash is flat.
        self.weight = nn.Parameter(
            primary**-0.5 * torch.randn(primary, num_classes, config.class_dim, config.dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The class capsules, float32, their lengths in [0, 1)."""
        maps = self.primary(F.relu(self.conv(x)))
        u = squash(as_capsules(maps, self.config.dim), 2)
        # One product for each primary capsule, then laid out by class: routing in bf16 on the CPU
        # is 4 times faster by it.
        u_hat = torch.einsum("bne,nkde->bknd", u, self.weight).contiguous().transpose(1, 2)
        return route(u_hat, self.config.routing)
