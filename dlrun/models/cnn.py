"""The convolutional network of the textbooks: convolutions, ReLU, pooling, fully connected layers.

The lecture notes' 7.3.1 works one by hand; their 2.2 has the dropout. Stages of several
convolutions make it a small VGG (Simonyan and Zisserman 2015, arXiv 1409.1556), and with them it is
either network of PyTorch's tutorial on knowledge distillation: model=tutorial_teacher has 1,186,986
parameters with a linear layer to ten classes, model=tutorial_student 267,738.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig, fully_connected
from dlrun.options import Count, Fraction


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
        for stage in config.channels:
            for above in stage:
                layers.append(nn.Conv2d(below, above, 3, padding=1, bias=not config.batch_norm))
                if config.batch_norm:  # which would remove the bias
                    layers.append(nn.BatchNorm2d(above))
                layers.append(nn.ReLU())
                below = above
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        widths = [below * (height >> stages) * (width >> stages), *config.hidden]
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(*fully_connected(widths))
        self.dropout = nn.Dropout(config.dropout)
        self.feature_dim = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim), not negative."""
        return self.dropout(self.hidden(self.flatten(self.features(x))))
