"""VGG for small images, as the distillation literature has it.

Simonyan and Zisserman 2015, arXiv 1409.1556, with batch norm and without the fully connected layers
(Tian, Krishnan and Isola 2020, arXiv 1910.10699): five stages of 3 x 3 convolutions, averaged over
positions. With a linear layer to 100 classes VGG-8 has 3,965,028 parameters, VGG-13 9,462,180.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig, initialise_for_relu
from dlrun.options import Count

SMALLEST = 8


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
            layers = _stage(below, above, config.convolutions[number])
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


def _stage(below: int, above: int, convolutions: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        # The bias is idle before batch norm; published weights and counts have it.
        layers += [nn.Conv2d(below, above, 3, padding=1), nn.BatchNorm2d(above), nn.ReLU()]
        below = above
    return layers
