"""Convolutional networks without shortcuts: stages of 3 x 3 convolutions and pooling.

`CNN` is that of the textbooks: the lecture notes' 7.3.1 works one by hand; their 2.2 has the
dropout. With several convolutions in a stage it is either network of PyTorch's tutorial on
knowledge distillation: model=tutorial_teacher has 1,186,986 parameters with a linear layer to ten
classes, model=tutorial_student 267,738.

`VGG` (Simonyan and Zisserman 2015, arXiv 1409.1556) is that of the distillation literature for
small images (Tian, Krishnan and Isola 2020, arXiv 1910.10699): five stages with batch norm,
averaged over positions. With a linear layer to 100 classes VGG-8 has 3,965,028 parameters, VGG-13
9,462,180.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig, fully_connected, initialise_for_relu
from dlrun.options import Count, Fraction

SMALLEST = 8  # pixels a side that a VGG takes


def convolutions(
    below: int, widths: Sequence[int], bias: bool, batch_norm: bool
) -> list[nn.Module]:
    """A 3 x 3 convolution with ReLU to each width in turn."""
    layers: list[nn.Module] = []
    for above in widths:
        layers.append(nn.Conv2d(below, above, 3, padding=1, bias=bias))
        if batch_norm:
            layers.append(nn.BatchNorm2d(above))
        layers.append(nn.ReLU())
        below = above
    return layers


class CNN(nn.Module):
    """Image (B, C, H, W) to features (B, feature_dim).

    `features` gives the map behind the last pooling, (B, channels, H / 2^stages, W / 2^stages).
    """

    kind = "encoder"
    channels_last = True

    @dataclass(frozen=True)
    class Config(EncoderConfig):
        channels: tuple[tuple[Count, ...], ...]
        hidden: tuple[Count, ...]
        batch_norm: bool
        dropout: Fraction

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        below, height, width = image_shape
        stages = len(config.channels)
        if min(height, width) < 2**stages:
            raise UserError(
                f"model.channels: {stages} stages, each halving the image, leave nothing of "
                f"{height} x {width}; take fewer stages or a larger dataset.size"
            )
        layers: list[nn.Module] = []
        for stage in config.channels:  # batch norm would remove a bias
            layers += convolutions(below, stage, not config.batch_norm, config.batch_norm)
            layers.append(nn.MaxPool2d(2))
            below = [below, *stage][-1]
        self.features = nn.Sequential(*layers)
        widths = [below * (height >> stages) * (width >> stages), *config.hidden]
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(*fully_connected(widths))
        self.dropout = nn.Dropout(config.dropout)
        self.feature_dim = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        return self.dropout(self.hidden(self.flatten(self.features(x))))


class VGG(nn.Module):
    """Image (B, C, H, W) to features (B, 8 width).

    The first three stages end in pooling, the fourth only where that leaves 4 pixels a side or more
    (so from images of 64 pixels on). Stages four and five therefore see 4 x 4 at 32 pixels and at
    64, 3 x 3 at 28.
    """

    kind = "encoder"
    channels_last = True

    @dataclass(frozen=True)
    class Config(EncoderConfig):
        width: Count
        convolutions: tuple[Count, Count, Count, Count, Count]

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        below, *sides = image_shape
        if min(sides) < SMALLEST:
            raise UserError(
                f"model=vgg: images are {sides[0]} x {sides[1]}, expected sides of {SMALLEST} or "
                "more; set dataset.size"
            )
        w = config.width
        stages = []
        for number, above in enumerate((w, 2 * w, 4 * w, 8 * w, 8 * w)):
            # The bias is idle before batch norm; published weights and counts have it.
            widths = [above] * config.convolutions[number]
            layers = convolutions(below, widths, bias=True, batch_norm=True)
            if number < 3 or (number == 3 and min(sides) >= 64):
                layers.append(nn.MaxPool2d(2))
            stages.append(nn.Sequential(*layers))
            below = above
        self.stage1, self.stage2, self.stage3, self.stage4, self.stage5 = stages
        self.feature_dim = below
        initialise_for_relu(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        y = self.stage3(self.stage2(self.stage1(x)))
        return self.stage5(self.stage4(y)).mean((2, 3))
