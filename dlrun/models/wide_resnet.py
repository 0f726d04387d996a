"""The wide residual networks.

Zagoruyko and Komodakis 2016, arXiv 1605.07146, table 1: depth 6n + 4, three stages of n blocks with
16k, 32k and 64k channels behind a stem of 16. Batch norm and ReLU stand before each convolution
(He et al. 2016, arXiv 1603.05027), dropout between a block's two (the paper's section 2.4).
With a linear layer to 100 classes WRN-16-2 has 703,284 parameters, WRN-40-2 2,255,156.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig
from dlrun.options import Count, Fraction


class Block(nn.Module):
    """B(3, 3) of the paper's section 2."""

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
        return beside + self.conv2(y)  # type: ignore[no-any-return]


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
        blocks, rest = divmod(config.depth - 4, 6)
        if rest or blocks < 1:
            raise UserError(
                f"model.depth: got {config.depth}, expected 6n + 4: 10, 16, 22, 28 or 40, say"
            )
        w = 16 * config.widen
        self.stem = nn.Conv2d(image_shape[0], 16, 3, 1, 1, bias=False)
        self.stage1 = self._stage(16, w, blocks, 1, config.dropout)
        self.stage2 = self._stage(w, 2 * w, blocks, 2, config.dropout)
        self.stage3 = self._stage(2 * w, 4 * w, blocks, 2, config.dropout)
        self.norm = nn.BatchNorm2d(4 * w)
        self.feature_dim = 4 * w
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015, arXiv 1502.01852, equation 14
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(below: int, above: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
        first = Block(below, above, stride, dropout)
        return nn.Sequential(first, *(Block(above, above, 1, dropout) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        return F.relu(self.norm(self.stage3(self.stage2(self.stage1(self.stem(x)))))).mean((2, 3))
