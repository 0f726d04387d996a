"""VAE: the variational autoencoder (Kingma and Welling 2014, arXiv 1312.6114).

Everything is in nats: summed over pixels and over the code, averaged over the batch. beta weighs
the KL term (Higgins et al. 2017); the numbers of held-out images are always those of beta = 1, the
bound itself. Otherwise than in the lecture notes: their decoder ends in a sigmoid and its loss is
the squared error; here the decoder gives logits and the loss group decides what they mean
(`loss=mse` with sigma = 1/sqrt(2) is theirs). The log-variance is clamped.

Expect: -log p(x) 90.9 nats on binarised MNIST: dlrun train recipe=mnist_vae, 32 minutes of one core
(docs/results.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from dlrun.data.batches import EvalBatch, Images
from dlrun.data.table import exact
from dlrun.losses.reconstruction import binarize, gaussian_kl, gaussian_kl_of_each
from dlrun.methods.autoencoder import CodeMethod
from dlrun.methods.base import Builder, Update
from dlrun.options import Count, Fraction, NonNegative, Positive, Whole

ENOUGH = 100
"""Steps before which a code that does not depend on the image says nothing."""


class GaussianCodeMethod(CodeMethod):
    """Codes with a Gaussian posterior, and N(0, 1) as the prior."""

    posterior: Callable[[Tensor], tuple[Tensor, Tensor]]
    """mu and log sigma^2 of q(z|x), each (B, code_dim)."""

    def embed(self, image: Tensor) -> Tensor:
        """mu (B, code_dim)."""
        return self.posterior(image)[0]

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """z = mu + sigma eps, eps from N(0, 1) (section 2.4)."""
        std = torch.exp(0.5 * logvar)
        return mu + std * torch.randn_like(std)

    def sample(self, n: int) -> Tensor:
        """n images of z from the prior, in [0, 1]."""
        device = next(self.parameters()).device
        return self.decode(torch.randn(n, self.code_dim, device=device))


class VAE(GaussianCodeMethod):
    """q(z|x) = N(mu, sigma^2) from the encoder, p(x|z) from the decoder, p(z) = N(0, 1)."""

    @dataclass(frozen=True)
    class Config:
        latent: Count
        beta: NonNegative
        reduction: Literal["sum", "mean"]
        warmup: Fraction
        free_bits: NonNegative
        binarize: Literal["none", "static", "random"]
        logvar_limit: Positive
        likelihood_draws: Whole

    key_metric = "negative_elbo"
    reporting_only = ("likelihood_draws",)

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        model = build.model()
        self.encoder = model.encoder
        self.fc_mu = nn.Linear(model.hidden_dim, config.latent)
        self.fc_logvar = nn.Linear(model.hidden_dim, config.latent)
        self.decoder = model.decoder(config.latent)
        self.loss = build.loss()
        self.code_dim = config.latent
        pixels = prod(build.image_shape)
        self.reconstruction_weight = 1 / pixels if config.reduction == "mean" else 1.0
        # Cross-entropy of grey values is not a likelihood, so there is nothing to estimate.
        pseudo = self.loss.binary and config.binarize == "none"
        self.likelihood_draws = 0 if pseudo else config.likelihood_draws
        if pseudo:
            build.report.append(
                "the cross-entropy of grey values is a pseudo-likelihood; method.binarize=static "
                "or random makes it a likelihood"
            )
        if config.reduction == "mean":
            build.report.append(
                f"method.beta={config.beta:g} with a mean over {pixels} pixels is beta "
                f"{config.beta * pixels:g} with their sum, as papers state it"
            )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2 of q(z|x), each (B, latent), float32."""
        h = self.encoder(x)
        limit = self.config.logvar_limit
        return self.fc_mu(h).float(), self.fc_logvar(h).float().clamp(-limit, limit)

    def step(self, batch: Images, update: Update) -> dict[str, Tensor]:
        """Equation 10, with beta in front of the KL term, which is free below the free bits."""
        x = self.target(batch.image)
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        reconstruction = self.loss(self.decoder(z), x).mean()
        kl = gaussian_kl_of_each(mu, logvar).mean(0)
        # Over the batch first (Kingma et al. 2016, arXiv 1606.04934, equation 15).
        charged = kl.clamp(min=self.config.free_bits).sum()
        loss = self.reconstruction_weight * reconstruction + self.beta(update.progress) * charged
        update.minimize(loss)
        return {"loss": loss, "reconstruction": reconstruction, "kl": kl.sum()}

    def beta(self, progress: float) -> float:
        """The KL term's weight: it rises from 0 over the warm-up (Bowman et al. 2016)."""
        warmup = self.config.warmup
        return self.config.beta * min(1.0, progress / warmup) if warmup else self.config.beta

    def target(self, x: Tensor, training: bool = True) -> Tensor:
        """The image to learn: grey, binarised once and for all, or anew for each batch.

        Held-out images are never binarised anew.
        """
        if self.config.binarize == "none":
            return x
        return torch.bernoulli(x) if training and self.config.binarize == "random" else binarize(x)

    def bound(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x|z) for one z from q(z|x), and KL(q(z|x) || p(z)): nats (B,) and (B,)."""
        mu, logvar = self.encode(x)
        z = self.reparameterize(mu, logvar)
        return self.loss(self.decoder(z), x), gaussian_kl(mu, logvar)

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """The bound at beta = 1, nats."""
        reconstruction, kl = self.bound(self.target(batch.image, training=False))
        return {"negative_elbo": reconstruction + kl, "kl": kl}

    def log_weights(self, image: Tensor, draws: int) -> Tensor:
        """log p(x, z) - log q(z|x) for z from q(z|x): nats (draws, B), float64, CPU.

        Burda et al. 2016, arXiv 1509.00519, equation 8.
        """
        x = self.target(image, training=False)
        mu, logvar = self.encode(x)
        noise = torch.randn(draws, *mu.shape, device=mu.device)
        z = mu + torch.exp(0.5 * logvar) * noise
        repeated = x.expand(draws, *x.shape).flatten(0, 1)
        log_likelihood = -self.loss(self.decoder(z.flatten(0, 1)), repeated).view(draws, len(x))
        # log N(z; 0, 1) - log N(z; mu, sigma^2); the constants cancel.
        noise, logvar, z = exact(noise), exact(logvar), exact(z)
        prior_to_posterior = 0.5 * (noise.square() + logvar - z.square())
        return exact(log_likelihood) + prior_to_posterior.sum(2)

    @property
    def likelihood_metric(self) -> str:
        """A probability of black and white, a density of numbers."""
        return "negative_log_likelihood" if self.loss.binary else "negative_log_density"

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2, each (B, latent)."""
        return self.encode(self.target(image, training=False))

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """A posterior that has collapsed to the prior: the decoder ignores the code."""
        if update.step < ENOUGH or numbers.get("active_units", self.code_dim) > 0:
            return []
        return [
            f"posterior collapse: the code does not depend on the image (KL {numbers['kl']:.2g} "
            "nats); lower method.beta, or set method.warmup=0.2 or method.free_bits=0.1"
        ]
