"""Residual networks for small images: three stages of n blocks behind a stem that keeps the size.

`ResNet`: He, Zhang, Ren and Sun 2016, arXiv 1512.03385, section 4.2: depth 6n + 2, stages of width,
2 width and 4 width channels. Shortcuts between stages are 1 x 1 convolutions (the paper's option B;
its CIFAR table uses A). The distillation literature (Tian, Krishnan and Isola 2020, arXiv
1910.10699) calls resnet8x4 and resnet32x4 those of width 64 behind a stem of 32. With a linear
layer to 100 classes resnet20 has 278,324 parameters, resnet56 861,620, resnet8x4 1,233,540,
resnet32x4 7,433,860.

`WideResNet`: Zagoruyko and Komodakis 2016, arXiv 1605.07146, table 1: depth 6n + 4, stages of 16k,
32k and 64k channels behind a stem of 16. Batch norm and ReLU come before each convolution (He et
al. 2016, arXiv 1603.05027), dropout between a block's two (section 2.4). With a linear layer to 100
classes WRN-16-2 has 703,284 parameters, WRN-40-2 2,255,156.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig, initialise_for_relu
from dlrun.options import Count, Fraction


def blocks_of(depth: int, outside: int, examples: str) -> int:
    """n of a depth of 6n + `outside`. Raises UserError."""
    blocks, rest = divmod(depth - outside, 6)
    if rest or blocks < 1:
        raise UserError(f"model.depth: got {depth}, expected 6n + {outside}, such as {examples}")
    return blocks


def stage_of(
    block: Callable[[int, int, int], nn.Module], below: int, above: int, blocks: int, stride: int
) -> nn.Sequential:
    """Blocks from `below` to `above` channels; the first has the stride."""
    first = block(below, above, stride)
    return nn.Sequential(first, *(block(above, above, 1) for _ in range(blocks - 1)))


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, as in the paper's figure 2."""

    def __init__(self, below: int, above: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(below, above, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(above)
        self.conv2 = nn.Conv2d(above, above, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(above)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or below != above:
            self.shortcut = nn.Sequential(
                nn.Conv2d(below, above, 1, stride, bias=False), nn.BatchNorm2d(above)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, below, H, W) to (B, above, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Image (B, C, H, W) to features (B, 4 width), averaged over positions."""

    kind = "encoder"
    channels_last = True  # 1.2 to 1.45 times faster on the CPU, see benchmarks/

    @dataclass(frozen=True)
    class Config(EncoderConfig):
        depth: Count
        width: Count
        stem: Count | None

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        blocks = blocks_of(config.depth, 2, "8, 20, 32, 44, 56 or 110")
        w, stem = config.width, config.stem or config.width
        self.stem = nn.Sequential(
            nn.Conv2d(image_shape[0], stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        self.stage1 = stage_of(Block, stem, w, blocks, stride=1)
        self.stage2 = stage_of(Block, w, 2 * w, blocks, stride=2)
        self.stage3 = stage_of(Block, 2 * w, 4 * w, blocks, stride=2)
        self.feature_dim = 4 * w
        initialise_for_relu(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        return self.stage3(self.stage2(self.stage1(self.stem(x)))).mean((2, 3))


class WideBlock(nn.Module):
    """B(3, 3) of the wide networks' section 2."""

    def __init__(self, below: int, above: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(below)
        self.conv1 = nn.Conv2d(below, above, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(above)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(above, above, 3, 1, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or below != above:
            self.shortcut = nn.Conv2d(below, above, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, below, H, W) to (B, above, H / stride, W / stride)."""
        y = F.relu(self.bn1(x))
        # A shortcut that changes the shape starts behind the norm, one that does not before it.
        beside = x if self.shortcut is None else self.shortcut(y)
        y = self.dropout(F.relu(self.bn2(self.conv1(y))))
        return beside + self.conv2(y)


class WideResNet(nn.Module):
    """Image (B, C, H, W) to features (B, 64 widen), averaged over positions."""

    kind = "encoder"
    channels_last = True

    @dataclass(frozen=True)
    class Config(EncoderConfig):
        depth: Count
        widen: Count
        dropout: Fraction

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        blocks = blocks_of(config.depth, 4, "10, 16, 22, 28 or 40")
        w, block = 16 * config.widen, partial(WideBlock, dropout=config.dropout)
        self.stem = nn.Conv2d(image_shape[0], 16, 3, 1, 1, bias=False)
        self.stage1 = stage_of(block, 16, w, blocks, stride=1)
        self.stage2 = stage_of(block, w, 2 * w, blocks, stride=2)
        self.stage3 = stage_of(block, 2 * w, 4 * w, blocks, stride=2)
        self.norm = nn.BatchNorm2d(4 * w)
        self.feature_dim = 4 * w
        initialise_for_relu(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        return F.relu(self.norm(self.stage3(self.stage2(self.stage1(self.stem(x)))))).mean((2, 3))
