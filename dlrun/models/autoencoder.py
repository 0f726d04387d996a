"""Between an image and a code: autoencoders, and the decoders alone, a GAN's generators.

An autoencoder's `encoder` maps an image to hidden features (B, hidden_dim), `decoder(code_dim)`
builds the network from a code back to an image's logits. The layers into and out of the code belong
to the method.
"""

from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.encoder import fully_connected
from dlrun.options import Count


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


class MLPAutoencoder(nn.Module):
    """Fully connected layers with ReLU; [128] is the lecture notes' network, 784-128 and back.

    Without any hidden layer both sides are linear: with `loss=mse` the principal components, and as
    a VAE probabilistic PCA (Lucas et al. 2019, arXiv 1911.02469).
    """

    kind = "autoencoder"
    channels_last = False

    @dataclass(frozen=True)
    class Config:
        hidden: tuple[Count, ...]

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.widths = [prod(image_shape), *config.hidden]
        self.hidden_dim = self.widths[-1]
        self.encoder = nn.Sequential(nn.Flatten(), *fully_connected(self.widths))

    def decoder(self, code_dim: int) -> nn.Module:
        """Code (B, code_dim) to logits (B, C, H, W)."""
        return mlp_decoder([code_dim, *self.widths[:0:-1]], self.image_shape)


class ConvAutoencoder(nn.Module):
    """Two strided convolutions down, two transposed ones up; sides must be multiples of 4."""

    kind = "autoencoder"
    channels_last = False  # the transposed convolutions lose what the others gain, see benchmarks/

    @dataclass(frozen=True)
    class Config:
        width: Count
        hidden: Count

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.image_shape, self.width, self.hidden_dim = image_shape, config.width, config.hidden
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
        return conv_decoder(code_dim, self.hidden_dim, self.width, self.image_shape)


class Decoder(nn.Module):
    """Code (B, code_dim) to logits (B, C, H, W)."""

    kind = "decoder"
    channels_last = False
    layers: nn.Sequential
    code_dim: int

    def forward(self, code: Tensor) -> Tensor:
        """Logits (B, C, H, W): a sigmoid makes pixels of them, or a tanh, as the method wants."""
        return self.layers(code)


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
