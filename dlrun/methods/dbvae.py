"""DB-VAE: a classifier that debiases itself through its own latent space (Amini et al. 2019, AIES).

One encoder gives the class and the code; a separate decoder gives the image back. Images of
interest, by default those of the positive class, are learnt by the autoencoder too, `L_y + I_f(y)
L_VAE`; at the start of each epoch they are looked at, and those that lie where few codes do are
drawn more often. Half of a batch is drawn so, the other half uniformly from the rest.

Otherwise than in the paper: what `methods/resampling.py` says of the weights; the losses' weights,
which it does not state, are `method.classification` and `method.beta` beside a sum over pixels in
nats. With two classes the encoder gives one logit, as there. With more it gives one for each class,
cross-entropy takes the place of its binary form, and the positive class is the one debiased against
the rest; the head still tells all of them apart. Without a positive class all images are of
interest, and whole batches are drawn by weight.

Expect: docs/results.md, "dbvae".
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from dlrun.data.rows import positive_rows
from dlrun.data.table import Table
from dlrun.data.views import HeldOut, Weighted
from dlrun.errors import UserError
from dlrun.losses.classification import cross_entropy
from dlrun.losses.divergence import gaussian_kl
from dlrun.methods.base import Builder, Method, Section, Update
from dlrun.methods.resampling import (
    Combine,
    balanced_weights,
    effective_sample_size,
    latent_weights,
    uniform_weights,
)
from dlrun.options import Count, Fraction, NonEmpty, NonNegative, Positive, Range, Whole

LABEL = "label"
FEW = 0.1  # of the images that are drawn by weight; with fewer effective ones, warn


class DBVAE(Method):
    """Encoder to (logit, mu, log sigma^2), decoder of its own, weights of the train images."""

    @dataclass(frozen=True)
    class Config:
        latent: Count
        classification: NonNegative
        beta: NonNegative
        logvar_limit: Positive
        indicator: Literal["positive", "attribute", "unsure"]
        attribute: NonEmpty | None
        value: Whole
        confidence: Fraction
        resampling: Literal["latent", "attribute", "shuffled", "none"]
        alpha: Positive
        bins: Count
        clip: Annotated[float, Range(0, 0.5, high_open=True)]
        combine: Combine
        top: Count
        balance: tuple[NonEmpty, ...] | None
        controls: bool

    view = Weighted
    model_kind = "autoencoder"
    loss_kind = "images"
    pixels = "unit"
    key_metric = "accuracy"
    reporting_only = ("controls",)

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config, self.positive = config, build.info.positive
        _demand_columns(config, build)
        model = build.model()
        self.encoder = model.encoder
        self.binary = build.num_classes == 2 and self.positive is not None
        self.fc_logit = nn.Linear(model.hidden_dim, 1 if self.binary else build.num_classes)
        self.fc_mu = nn.Linear(model.hidden_dim, config.latent)
        self.fc_logvar = nn.Linear(model.hidden_dim, config.latent)
        self.decoder = model.decoder(config.latent)
        self.loss = build.loss()
        self.code_dim = config.latent
        self.weights: Tensor
        self.register_buffer("weights", torch.zeros(build.rows, dtype=torch.float64))
        if self.positive is None:
            build.report.append(
                "dataset.positive is not set: images of all classes are debiased, and whole "
                "batches are drawn by weight"
            )

    @classmethod
    def prerequisites(cls, plain: dict[str, Any], section: Section) -> dict[str, dict[str, Any]]:
        """With `controls`, the same run but for how its images are drawn.

        Drawn evenly, drawn as unevenly but blindly, and, where columns are given, each of their
        combinations equally often. What a control does not use is set to one value, so that all
        runs of a sweep share it.
        """
        own = plain["method"]
        if not own["controls"]:
            return {}
        blind = own | {"controls": False, "resampling": "shuffled", "balance": None}
        even = blind | {"alpha": 1.0, "bins": 1, "clip": 0.0, "combine": "max", "top": 1}
        drawn = {
            "none": even | {"resampling": "none"},
            "attribute": even | {"resampling": "attribute", "balance": own["balance"]},
            "shuffled": blind,
        }
        return {
            f"control-{how}": plain | {"method": options}
            for how, options in drawn.items()
            if how != own["resampling"] and (how != "attribute" or own["balance"])
        }

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, K), and mu and log sigma^2 of q(z|x), each (B, latent); float32.

        The one logit of two classes stands against 0 of the negative one.
        """
        h = self.encoder(x)
        logit = self.fc_logit(h).float()
        if self.binary:
            zero = torch.zeros_like(logit)
            logit = torch.cat([zero, logit] if self.positive else [logit, zero], 1)
        limit = self.config.logvar_limit
        return logit, self.fc_mu(h).float(), self.fc_logvar(h).float().clamp(-limit, limit)

    def step(self, batch: Weighted, update: Update) -> dict[str, Tensor]:
        """Equation 1 of all images, its second part only of those of interest."""
        x, y = batch.image, batch.label
        logits, mu, logvar = self.encode(x)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        classification = cross_entropy(logits, y)
        reconstruction, kl = self.loss(self.decoder(z), x), gaussian_kl(mu, logvar)
        vae = reconstruction + self.config.beta * kl
        indicated = self.indicated(logits, y, batch.attributes)
        # Not a product: an infinite loss of an image that is passed over would be NaN.
        masked = torch.where(indicated, vae, 0)
        loss = (self.config.classification * classification + masked).mean()
        update.minimize(loss)
        parts = torch.where(indicated, torch.stack([reconstruction, kl]).detach(), 0).sum(1)
        reconstruction, kl = parts / indicated.sum().clamp_min(1)
        return {
            "loss": loss,
            "classification": classification.detach().mean(),
            "reconstruction": reconstruction,
            "kl": kl,
            "accuracy": (logits.argmax(1) == y).float().mean(),
        }

    def indicated(self, logits: Tensor, y: Tensor, attributes: dict[str, Tensor]) -> Tensor:
        """I_f(y): which images (B,), bool, the autoencoder learns."""
        config = self.config
        if config.indicator == "attribute":
            assert config.attribute is not None
            return attributes[config.attribute] == config.value
        if config.indicator == "unsure":
            return logits.detach().softmax(1).amax(1) < config.confidence
        return torch.ones_like(y, dtype=torch.bool) if self.positive is None else y == self.positive

    # --- which images are drawn ---

    def surveyed(self, table: Table) -> Tensor:
        """The rows that are debiased, int64 (M,)."""
        return positive_rows(table, self.positive)[0]

    def glance(self, image: Tensor) -> Tensor:
        """mu (B, latent)."""
        return self.encode(image)[1]

    def survey(self, table: Table, rows: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """Weighs the rows anew by their codes `seen` (M, latent)."""
        config = self.config
        if config.resampling == "none":
            drawn = uniform_weights(seen)
        elif config.resampling == "attribute":
            assert table.labels is not None
            columns = table.attributes | {LABEL: table.labels}
            drawn = balanced_weights([columns[name][rows] for name in config.balance or ()])
        else:
            drawn = latent_weights(
                seen, config.bins, config.alpha, config.combine, config.top, config.clip
            )
        if config.resampling == "shuffled":  # as uneven, but blind
            drawn = drawn[torch.randperm(len(drawn), device=drawn.device)]
        self.weights.zero_()
        self.weights[rows] = drawn
        size = effective_sample_size(drawn)
        return {"effective_sample_size": size, "effective_share": size / len(drawn)}

    # --- what it can do when it is trained ---

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.encode(image)[0]

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2, each (B, latent)."""
        return self.encode(image)[1:]

    def embed(self, image: Tensor) -> Tensor:
        """mu (B, latent)."""
        return self.encode(image)[1]

    def decode(self, code: Tensor) -> Tensor:
        """Images of codes (B, latent), in [0, 1]; it has learnt those of interest only."""
        picture: Tensor = self.loss.mean(self.decoder(code))
        return picture

    def reconstruct(self, image: Tensor) -> Tensor:
        """Through mu, without noise, in [0, 1]."""
        return self.decode(self.embed(image))

    def sample(self, n: int) -> Tensor:
        """n images of z from the prior, in [0, 1]."""
        return self.decode(torch.randn(n, self.code_dim, device=self.fc_mu.weight.device))

    def validate(self, batch: HeldOut) -> dict[str, Tensor]:
        """L_y of all images; the bound at beta = 1, nats, of those of interest."""
        assert batch.label is not None
        logits, mu, logvar = self.encode(batch.image)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        kl = gaussian_kl(mu, logvar)
        indicated = self.indicated(logits, batch.label, batch.attributes)
        bound = self.loss(self.decoder(z), batch.image) + kl
        return {
            "loss": cross_entropy(logits, batch.label),
            "negative_elbo": bound[indicated],
            "kl": kl[indicated],
        }

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """A few images that are drawn over and over; codes that say nothing of the image."""
        lines, rows = [], self.weights > 0
        size, images = float(effective_sample_size(self.weights)), int(rows.sum())
        if images and size < FEW * images:
            lines.append(
                f"resampling: of {images} images only {size:.0f} count (effective sample size), so "
                f"a few are drawn over and over; a larger method.alpha than {self.config.alpha:g} "
                "evens it out, or method.clip=0.01 where outliers set the bins"
            )
        if numbers.get("active_units", 1) < 1 and self.config.resampling == "latent":
            lines.append(
                "posterior collapse: no number of the code depends on the image, so all are drawn "
                "alike; a smaller method.beta or method.classification gives the code a use"
            )
        return lines


def _demand_columns(config: DBVAE.Config, build: Builder) -> None:
    """The table's columns that the options name. Raises UserError."""
    classes = [name for name, column in build.info.attributes.items() if column.classes]
    if config.indicator == "attribute" and config.attribute not in classes:
        raise UserError(
            f"method.attribute: got {config.attribute}, expected the column that "
            f"method.indicator=attribute looks at, one of {_listed(classes)}"
        )
    if config.resampling == "attribute":
        if not config.balance:
            raise UserError(
                "method.balance: got null, expected the columns that method.resampling=attribute "
                f"balances, some of {_listed([LABEL, *classes])}"
            )
        for name in config.balance:
            if name not in (LABEL, *classes):
                raise UserError(
                    f"method.balance: got {name!r}, expected some of {_listed([LABEL, *classes])}"
                )


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "(the images have none: dataset.attributes, or a bias)"
