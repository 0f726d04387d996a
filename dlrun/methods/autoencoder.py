"""Autoencoder: an image to a short code and back (Hinton and Salakhutdinov 2006).

Trained end to end, without their layer-by-layer pretraining, which ReLU and Adam make needless.
With `noise` or `masked` it is the denoising one (Vincent et al. 2008): a damaged image goes in, the
intact one is the target. Its baseline is as many principal components.

Expect: squared error 4.78 an image on MNIST, 13.87 of 30 principal components: dlrun train
recipe=mnist_autoencoder, 8 minutes of one core (docs/results.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dlrun.data.batches import Batch, Images
from dlrun.methods.base import Builder, Method, Update
from dlrun.options import Count, Fraction, NonNegative


class CodeMethod(Method):
    """A method whose `embed` gives a code, and whose `decoder` makes an image of it.

    What picture the decoder's output is, the loss says.
    """

    view: ClassVar[type[Batch]] = Images
    model_kind = "autoencoder"
    loss_kind = "images"
    pixels = "unit"
    decoder: nn.Module
    loss: Any
    code_dim: int
    embed: Callable[[Tensor], Tensor]
    """Codes (B, code_dim), float32."""

    def decode(self, code: Tensor) -> Tensor:
        """Images (B, C, H, W) in [0, 1] of codes (B, code_dim)."""
        return self.loss.mean(self.decoder(code))

    def reconstruct(self, image: Tensor) -> Tensor:
        """Through the code, without noise, in [0, 1]."""
        return self.decode(self.embed(image))


class Autoencoder(CodeMethod):
    """code = f(x), x' = g(code)."""

    @dataclass(frozen=True)
    class Config:
        code: Count
        noise: NonNegative
        masked: Fraction

    key_metric = "reconstruction_error"

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        model = build.model()
        self.encoder = nn.Sequential(model.encoder, nn.Linear(model.hidden_dim, config.code))
        self.decoder = model.decoder(config.code)
        self.loss = build.loss()
        self.code_dim = config.code

    def step(self, batch: Images, update: Update) -> dict[str, Tensor]:
        """The loss of the intact image given the damaged one, summed over pixels."""
        code = self.encoder(self.damaged(batch.image))
        loss = self.loss(self.decoder(code), batch.image).mean()
        update.minimize(loss)
        return {"loss": loss}

    def damaged(self, x: Tensor) -> Tensor:
        """Gaussian noise on every pixel, then some pixels black; x itself with neither."""
        if self.config.noise:
            x = x + self.config.noise * torch.randn_like(x)
        if self.config.masked:
            x = x * (torch.rand_like(x) >= self.config.masked)
        return x

    def embed(self, image: Tensor) -> Tensor:
        """The code (B, code), float32."""
        return self.encoder(image).float()
