"""The U-Net generator of the CycleGAN and pix2pix code: halved down to a pixel, and up again.

Isola et al. 2017, arXiv 1611.07004, appendix 6.1.1, after Ronneberger et al. 2015, with instance
norm and without dropout, as CycleGAN takes it. What a strided convolution loses of a place comes
back through the skip connections, so a translation keeps edges where they are.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.generator import initialise, instance_norm
from dlrun.options import Count, Range


def halvings(height: int, width: int) -> int:
    """How often both sides can be halved without a rest."""
    count = 0
    while height % 2 == 0 and width % 2 == 0:
        height, width, count = height // 2, width // 2, count + 1
    return count


def down(below: int, above: int, norm: bool) -> nn.Module:
    """Half the side."""
    return nn.Sequential(
        nn.LeakyReLU(0.2),
        nn.Conv2d(below, above, 4, 2, 1),
        instance_norm(above) if norm else nn.Identity(),
    )


def up(above: int, below: int) -> nn.Module:
    """Twice the side."""
    return nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(above, below, 4, 2, 1), instance_norm(below))


class UNetGenerator(nn.Module):
    """Image to image, (B, C, H, W) in [-1, 1] both; sides are multiples of 2 to the depth."""

    kind = "generator"
    channels_last = False

    @dataclass(frozen=True)
    class Config:
        width: Count
        depth: Annotated[int, Range(2)] | None

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = image_shape
        most = halvings(height, width)
        depth = most if config.depth is None else config.depth
        if not 2 <= depth <= most:
            raise UserError(
                f"model=unet_generator: images are {height} x {width}, expected sides that are "
                f"multiples of {2 ** max(2, depth)} (2 to the depth); set dataset.size"
                + (f" or model.depth={most} at most" if most >= 2 else "")
            )
        widths = [config.width * min(2**i, 8) for i in range(depth)]
        self.downs = nn.ModuleList([nn.Conv2d(channels, widths[0], 4, 2, 1)])
        # None at the bottom: of a single pixel, instance norm would leave nothing.
        for below, above in pairwise(widths):
            self.downs.append(down(below, above, norm=len(self.downs) < depth - 1))
        self.ups = nn.ModuleList()
        for above, below in pairwise(widths[::-1]):  # from the second on beside what skipped
            self.ups.append(up(2 * above if len(self.ups) else above, below))
        self.last = nn.Sequential(
            nn.ReLU(), nn.ConvTranspose2d(2 * widths[0], channels, 4, 2, 1), nn.Tanh()
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """The translated image."""
        skipped: list[Tensor] = []
        for layer in self.downs:
            x = layer(x)
            skipped.append(x)
        x = skipped.pop()
        for layer in self.ups:
            x = torch.cat([skipped.pop(), layer(x)], 1)
        y: Tensor = self.last(x)
        return y
