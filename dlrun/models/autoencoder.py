"""Encoder and decoder pairs, one on either side of a code.

`encoder` maps an image to hidden features (B, hidden_dim), `decoder(code_dim)` builds the network
from a code back to an image's logits. The layers into and out of the code belong to the method.
"""

from dataclasses import dataclass
from math import prod

from torch import nn

from dlrun.models.decoder import conv_decoder, fully_connected, mlp_decoder, smallest_map
from dlrun.options import Count


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
