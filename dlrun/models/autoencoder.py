"""Between an image and a code: autoencoders, and the decoders alone, a GAN's generators.

An autoencoder's `encoder` maps an image to hidden features (B, hidden_dim), `decoder(code_dim)`
builds the network from a code back to an image's logits, which the method turns into pixels by a
sigmoid or a tanh. The layers into and out of the code belong to the method.
"""

from dataclasses import dataclass
from math import prod

from torch import nn

from dlrun.errors import UserError
from dlrun.models.encoder import fully_connected
from dlrun.options import Count


class MLPDecoder(nn.Sequential):
    """Code (B, code_dim) to logits (B, C, H, W): fully connected layers with ReLU."""

    kind = "decoder"

    @dataclass(frozen=True)
    class Config:
        code: Count
        hidden: tuple[Count, ...]

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        widths = [config.code, *config.hidden]
        super().__init__(
            *fully_connected(widths),
            nn.Linear(widths[-1], prod(image_shape)),
            nn.Unflatten(1, image_shape),
        )
        self.code_dim = config.code


class ConvDecoder(nn.Sequential):
    """Code (B, code_dim) to logits (B, C, H, W): fully connected, two transposed convolutions.

    `hidden` is the width of the layer behind the code, `width` the channels in front of the last
    convolution. Sides must be multiples of 4.
    """

    kind = "decoder"
    channels_last = False  # the transposed convolutions lose what the others gain, see benchmarks/

    @dataclass(frozen=True)
    class Config:
        code: Count
        width: Count
        hidden: Count

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        small = smallest_map(config.width, image_shape)
        super().__init__(
            nn.Linear(config.code, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, prod(small)),
            nn.ReLU(),
            nn.Unflatten(1, small),
            nn.ConvTranspose2d(2 * config.width, config.width, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(config.width, image_shape[0], 4, 2, 1),
        )
        self.code_dim = config.code


def smallest_map(width: int, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The map (C, H / 4, W / 4) between the convolutions and the code. Raises UserError."""
    _, height, side = image_shape
    if height % 4 or side % 4:
        raise UserError(
            f"model: images are {height} x {side}, expected sides that are multiples of 4; set "
            "dataset.size, or choose the fully connected model=mlp_autoencoder or mlp_decoder"
        )
    return 2 * width, height // 4, side // 4


class MLPAutoencoder(nn.Module):
    """Fully connected layers with ReLU; [128] is the lecture notes' network, 784-128 and back.

    Without any hidden layer both sides are linear: with `loss=mse` the principal components, and as
    a VAE probabilistic PCA (Lucas et al. 2019, arXiv 1911.02469).
    """

    kind = "autoencoder"

    @dataclass(frozen=True)
    class Config:
        hidden: tuple[Count, ...]

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.image_shape, self.hidden = image_shape, config.hidden
        widths = [prod(image_shape), *config.hidden]
        self.hidden_dim = widths[-1]
        self.encoder = nn.Sequential(nn.Flatten(), *fully_connected(widths))

    def decoder(self, code_dim: int) -> nn.Module:
        """Code (B, code_dim) to logits (B, C, H, W)."""
        return MLPDecoder(MLPDecoder.Config(code_dim, self.hidden[::-1]), self.image_shape, 0)


class ConvAutoencoder(nn.Module):
    """Two strided convolutions down, two transposed ones up; sides must be multiples of 4."""

    kind = "autoencoder"

    @dataclass(frozen=True)
    class Config:
        width: Count
        hidden: Count

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.config, self.image_shape, self.hidden_dim = config, image_shape, config.hidden
        self.encoder = nn.Sequential(
            nn.Conv2d(image_shape[0], config.width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(config.width, 2 * config.width, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(prod(smallest_map(config.width, image_shape)), config.hidden),
            nn.ReLU(),
        )

    def decoder(self, code_dim: int) -> nn.Module:
        """Code (B, code_dim) to logits (B, C, H, W)."""
        config = ConvDecoder.Config(code_dim, self.config.width, self.config.hidden)
        return ConvDecoder(config, self.image_shape, 0)
