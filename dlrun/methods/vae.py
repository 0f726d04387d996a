"""VAE: the variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114).

Everything is in nats: summed over pixels and over the code, averaged over the batch. beta weighs
the KL term (Higgins et al. 2017); the figures on held-out images are always those of beta = 1, the
bound itself. Otherwise than in the lecture notes: their decoder ends in a sigmoid and its loss is
the squared error; here the decoder gives logits and the loss group decides what they mean
(`loss=mse` with sigma = 1/sqrt(2) is theirs). The log-variance is clamped.

Expect: docs/results.md, "vae".
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dlrun.data.views import HeldOut, Images
from dlrun.losses.divergence import gaussian_kl
from dlrun.methods.base import Builder, Method, Update
from dlrun.options import Count, NonNegative, Positive


class VAE(Method):
    """q(z|x) = N(mu, sigma^2) from the encoder, p(x|z) from the decoder, p(z) = N(0, 1)."""

    @dataclass(frozen=True)
    class Config:
        latent: Count
        beta: NonNegative
        binarize: Literal["none", "random"]
        logvar_limit: Positive

    view = Images
    model_kind = "autoencoder"
    loss_kind = "images"
    pixels = "unit"
    key_metric = "negative_elbo"

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        model = build.model()
        self.encoder = model.encoder
        self.fc_mu = nn.Linear(model.hidden_dim, config.latent)
        self.fc_logvar = nn.Linear(model.hidden_dim, config.latent)
        self.decoder = model.decoder(config.latent)
        self.loss = build.loss()

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z|x), each (B, latent), float32."""
        h = self.encoder(x)
        limit = self.config.logvar_limit
        return self.fc_mu(h).float(), self.fc_logvar(h).float().clamp(-limit, limit)

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """z = mu + sigma eps, eps from N(0, 1) (section 2.4)."""
        std = torch.exp(0.5 * logvar)
        return mu + std * torch.randn_like(std)

    def bound(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) for one z from q(z|x), and KL(q(z|x) || p(z)): nats (B,) and (B,)."""
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.loss(self.decoder(z), x), gaussian_kl(mu, logvar)

    def step(self, batch: Images, update: Update) -> dict[str, Tensor]:
        """Equation 10 with beta in front of the KL term."""
        reconstruction, kl = self.bound(self.binarized(batch.image))
        loss = (reconstruction + self.config.beta * kl).mean()
        update.minimize(loss)
        return {"loss": loss, "reconstruction": reconstruction.mean(), "kl": kl.mean()}

    def binarized(self, x: Tensor) -> Tensor:
        """Each pixel drawn black or white with its grey value as the chance, if so configured."""
        return torch.bernoulli(x) if self.config.binarize == "random" else x

    def validate(self, batch: HeldOut) -> dict[str, Tensor]:
        """The bound at beta = 1, whatever beta trains."""
        reconstruction, kl = self.bound(self.binarized(batch.image))
        return {"negative_elbo": reconstruction + kl, "kl": kl}

    def embed(self, image: Tensor) -> Tensor:
        """mu (B, latent)."""
        return self.encode(image)[0]

    def reconstruct(self, image: Tensor) -> Tensor:
        """Through mu, without noise, in [0, 1]."""
        picture: Tensor = self.loss.mean(self.decoder(self.encode(image)[0]))
        return picture

    def sample(self, n: int) -> Tensor:
        """n images of z from the prior, in [0, 1]."""
        z = torch.randn(n, self.config.latent, device=self.fc_mu.weight.device)
        picture: Tensor = self.loss.mean(self.decoder(z))
        return picture
