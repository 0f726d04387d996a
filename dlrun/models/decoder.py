"""From a code to an image: generators of a GAN, and the second half of an autoencoder."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.options import Count


def fully_connected(widths: list[int]) -> list[nn.Module]:
    """A fully connected layer with ReLU from each width to the next."""
    return [
        layer for below, above in pairwise(widths) for layer in (nn.Linear(below, above), nn.ReLU())
    ]


def mlp_decoder(widths: list[int], image_shape: tuple[int, int, int]) -> nn.Sequential:
    """Code (B, widths[0]) through layers of the other widths to logits (B, C, H, W)."""
    return nn.Sequential(
        *fully_connected(widths),
        nn.Linear(widths[-1], prod(image_shape)),
        nn.Unflatten(1, image_shape),
    )


def conv_decoder(
    code_dim: int, hidden: int, width: int, image_shape: tuple[int, int, int]
) -> nn.Sequential:
    """Code (B, code_dim) to logits (B, C, H, W) by two transposed convolutions.

    Args:
        code_dim: width of the code.
        hidden: width of the layer behind it.
        width: channels in front of the last convolution; twice as many in front of that.
        image_shape: (C, H, W), sides that are multiples of 4.
    """
    small = smallest_map(width, image_shape)
    return nn.Sequential(
        nn.Linear(code_dim, hidden),
        nn.ReLU(),
        nn.Linear(hidden, prod(small)),
        nn.ReLU(),
        nn.Unflatten(1, small),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, image_shape[0], 4, 2, 1),
    )


def smallest_map(width: int, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The map (C, H / 4, W / 4) between the convolutions and the code. Raises UserError."""
    _, height, side = image_shape
    if height % 4 or side % 4:
        raise UserError(
            f"model: images are {height} x {side}, expected sides that are multiples of 4; set "
            "dataset.size, or choose the fully connected model=mlp_autoencoder or mlp_decoder"
        )
    return 2 * width, height // 4, side // 4


class Decoder(nn.Module):
    """Code (B, code_dim) to logits (B, C, H, W)."""

    kind = "decoder"
    channels_last = False  # the transposed convolutions lose what the others gain, see benchmarks/
    layers: nn.Sequential
    code_dim: int

    def forward(self, code: Tensor) -> Tensor:
        """Logits (B, C, H, W): a sigmoid makes pixels of them, or a tanh, as the method wants."""
        logits: Tensor = self.layers(code)
        return logits


class MLPDecoder(Decoder):
    """Fully connected layers with ReLU."""

    @dataclass(frozen=True)
    class Config:
        code: Count
        hidden: tuple[Count, ...]

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.code_dim = config.code
        self.layers = mlp_decoder([config.code, *config.hidden], image_shape)


class ConvDecoder(Decoder):
    """A fully connected layer and two transposed convolutions; sides must be multiples of 4."""

    @dataclass(frozen=True)
    class Config:
        code: Count
        width: Count
        hidden: Count

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.code_dim = config.code
        self.layers = conv_decoder(config.code, config.hidden, config.width, image_shape)
