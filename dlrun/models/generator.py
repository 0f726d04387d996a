"""CycleGAN's generators, image to image.

`ResNetGenerator`: Zhu, Park, Isola and Efros 2017, arXiv 1703.10593, appendix 7.2, after Johnson et
al. 2016: c7s1-w, d2w, d4w, R4w x blocks, u2w, uw, c7s1-C, tanh. With width 64 and three channels it
has 11,378,179 parameters at 9 blocks and 7,837,699 at 6.

`UNetGenerator`, that of their code and of pix2pix: Isola et al. 2017, arXiv 1611.07004, appendix
6.1.1, after Ronneberger et al. 2015, with instance norm and without dropout. It halves the image
down to a pixel and doubles it again; skip connections bring back the positions that a strided
convolution loses, so a translation keeps edges where they are.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.options import Count, Range


def initialise(network: nn.Module) -> None:
    """Weights from N(0, 0.02), biases 0 (the paper's appendix 7.1)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def instance_norm(channels: int) -> nn.Module:
    """Without running statistics, so that evaluation computes what training computed."""
    return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions over mirrored edges; nothing after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            instance_norm(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            instance_norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        return x + self.body(x)


class ResNetGenerator(nn.Sequential):
    """Image to image, (B, C, H, W) in [-1, 1] both; sides are multiples of 4, 8 or more."""

    kind = "generator"
    channels_last = False  # instance norm and transposed convolutions lose by it, see benchmarks/

    @dataclass(frozen=True)
    class Config:
        width: Count
        blocks: Count

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        channels, height, width = image_shape
        # Mirrored edges and instance norm need more than one pixel where the map is smallest.
        if height % 4 or width % 4 or min(height, width) < 8:
            raise UserError(
                f"model=resnet_generator: images are {height} x {width}, expected sides that are "
                "multiples of 4, 8 or more; set dataset.size"
            )
        w = config.width
        super().__init__(
            nn.ReflectionPad2d(3), nn.Conv2d(channels, w, 7), instance_norm(w), nn.ReLU(),
            nn.Conv2d(w, 2 * w, 3, 2, 1), instance_norm(2 * w), nn.ReLU(),
            nn.Conv2d(2 * w, 4 * w, 3, 2, 1), instance_norm(4 * w), nn.ReLU(),
            *(ResidualBlock(4 * w) for _ in range(config.blocks)),
            nn.ConvTranspose2d(4 * w, 2 * w, 3, 2, 1, output_padding=1),
            instance_norm(2 * w), nn.ReLU(),
            nn.ConvTranspose2d(2 * w, w, 3, 2, 1, output_padding=1), instance_norm(w), nn.ReLU(),
            nn.ReflectionPad2d(3), nn.Conv2d(w, channels, 7), nn.Tanh(),
        )  # fmt: skip
        initialise(self)


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
        return self.last(x)
