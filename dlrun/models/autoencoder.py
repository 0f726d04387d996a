"""Encoder and decoder pairs: what stands on both sides of a code.

`encoder` maps an image to hidden features (B, hidden_dim), `decoder(code_dim)` builds the network
from a code back to an image's logits. The layers into and out of the code belong to the method.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from torch import nn

from dlrun.errors import UserError
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
        self.encoder = nn.Sequential(nn.Flatten(), *_with_relu(self.widths))

    def decoder(self, code_dim: int) -> nn.Module:
        """Code (B, code_dim) to logits (B, C, H, W)."""
        up = [code_dim, *self.widths[:0:-1]]
        return nn.Sequential(
            *_with_relu(up),
            nn.Linear(up[-1], self.widths[0]),
            nn.Unflatten(1, self.image_shape),
        )


def _with_relu(widths: list[int]) -> list[nn.Module]:
    """A fully connected layer with ReLU from each width to the next."""
    return [
        layer for below, above in pairwise(widths) for layer in (nn.Linear(below, above), nn.ReLU())
    ]


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
        channels, height, width = image_shape
        if height % 4 or width % 4:
            raise UserError(
                f"model=conv_autoencoder: images are {height} x {width}, expected sides that are "
                "multiples of 4; set dataset.size or take model=mlp_autoencoder"
            )
        self.channels, self.width, self.hidden_dim = channels, config.width, config.hidden
        self.small = (2 * config.width, height // 4, width // 4)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, config.width, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(config.width, 2 * config.width, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(prod(self.small), config.hidden),
            nn.ReLU(),
        )

    def decoder(self, code_dim: int) -> nn.Module:
        """Code (B, code_dim) to logits (B, C, H, W)."""
        return nn.Sequential(
            nn.Linear(code_dim, self.hidden_dim),
            nn.ReLU(),
            nn.Linear(self.hidden_dim, prod(self.small)),
            nn.ReLU(),
            nn.Unflatten(1, self.small),
            nn.ConvTranspose2d(2 * self.width, self.width, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(self.width, self.channels, 4, 2, 1),
        )
