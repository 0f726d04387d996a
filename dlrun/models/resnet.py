"""The residual networks for small images.

He, Zhang, Ren and Sun 2016, arXiv 1512.03385, section 4.2: depth 6n + 2, three stages of n blocks
with width, 2 width and 4 width channels; a 3 x 3 stem that does not shrink the image. Shortcuts
between stages are 1 x 1 convolutions (the paper's option B; its CIFAR table uses A).

The distillation literature has the same networks (Tian, Krishnan and Isola 2020, arXiv 1910.10699)
and calls resnet8x4 and resnet32x4 those of width 64 behind a stem of 32. With a linear layer to 100
classes resnet20 has 278,324 parameters, resnet56 861,620, resnet8x4 1,233,540, resnet32x4
7,433,860.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig
from dlrun.options import Count


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
        blocks, rest = divmod(config.depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(
                f"model.depth: got {config.depth}, expected 6n + 2: 8, 20, 32, 44, 56 or 110, say"
            )
        w, stem = config.width, config.stem or config.width
        self.stem = nn.Sequential(
            nn.Conv2d(image_shape[0], stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()
        )
        self.stage1 = self._stage(stem, w, blocks, stride=1)
        self.stage2 = self._stage(w, 2 * w, blocks, stride=2)
        self.stage3 = self._stage(2 * w, 4 * w, blocks, stride=2)
        self.feature_dim = 4 * w
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015, arXiv 1502.01852, equation 14
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(below: int, above: int, blocks: int, stride: int) -> nn.Sequential:
        first = Block(below, above, stride)
        return nn.Sequential(first, *(Block(above, above, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        return self.stage3(self.stage2(self.stage1(self.stem(x)))).mean((2, 3))  # type: ignore[no-any-return]
