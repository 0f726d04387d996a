"""DB-VAE: a classifier that debiases itself through its own latent space (Amini et al. 2019, AIES).

One encoder gives the class and the code; a separate decoder reconstructs the image. Images of
interest, by default those of the positive class, train the autoencoder too, `L_y + I_f(y) L_VAE`.
Before each epoch their codes are computed, and those where few codes lie are drawn more often
(`methods/resampling.py`): half of a batch is drawn by weight, the other half uniformly from the
rest.

Otherwise than in the paper: the losses' weights, which it does not state, are
`method.classification` and `method.beta` beside a sum over pixels in nats. With two classes the
encoder gives one logit, as there; with more it gives one for each class, and cross-entropy takes
the place of its binary form. Without a positive class all images are of interest, and whole batches
are drawn by weight.

Expect: worst group's recall .916 ± .009 on faces, .874 ± .005 without: dlrun train
recipe=faces_dbvae method.alpha=0.001, one minute of one core (docs/results.md).
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from dlrun.data.batches import Batches, EvalBatch, Labelled
from dlrun.data.order import Order
from dlrun.data.table import LABEL, Table, exact, no_column
from dlrun.errors import UserError
from dlrun.losses.classification import cross_entropy
from dlrun.losses.reconstruction import gaussian_kl
from dlrun.methods.base import Builder, Section, Update
from dlrun.methods.hooks import Over
from dlrun.methods.resampling import (
    Combine,
    WeightedOrder,
    balanced_weights,
    effective_sample_size,
    latent_weights,
    positive_rows,
    uniform_weights,
)
from dlrun.methods.vae import ENOUGH, GaussianCodeMethod
from dlrun.options import Count, Fraction, NonEmpty, NonNegative, Positive, Range, Whole
from dlrun.text import suggest

FEW = 0.1  # of the images that are drawn by weight; with fewer effective ones, warn


@dataclass(frozen=True)
class HalfWeighted(Labelled):
    """As `Labelled`; the first, larger half are positives, drawn by the method's `weights`.

    With replacement; the others come in shuffled passes. Without a positive class the whole batch
    is drawn by weight.
    """

    unit: ClassVar[tuple[int, str]] = (2, "two halves")

    @classmethod
    def order(cls, batches: Batches) -> tuple[WeightedOrder, Order | None]:
        """Of the images that are drawn by weight, and of the others, where there are any."""
        positives, others = positive_rows(batches.data.train, batches.data.positive)
        method: Any = batches.method
        weighted = WeightedOrder(method.weights, positives, batches.seed, "by weight")
        if not len(others):
            return weighted, None
        if batches.size < 2:
            raise UserError(
                "batch_size: got 1, but half of it are positives and half are others; expected an "
                "integer >= 2"
            )
        length = max(len(others), batches.size)
        return weighted, Order(others, length, batches.seed, "others")

    @classmethod
    def draw(cls, batches: Batches, number: int) -> Self:
        """A batch."""
        weighted, others = batches.order
        half = batches.size // 2 if others else 0
        rows = batches.shard(weighted.batch(number, batches.size - half))
        if others:
            rows = torch.cat([rows, batches.shard(others.batch(number, half))])
        return cls.of(batches, rows)


class DBVAE(GaussianCodeMethod):
    """Encoder to (logit, mu, log sigma^2), a separate decoder, weights of the train images."""

    @dataclass(frozen=True)
    class Config:
        latent: Count
        classification: NonNegative
        beta: NonNegative
        logvar_limit: Positive
        indicator: Literal["positive", "attribute", "unsure"]
        attribute: NonEmpty | None
        value: Whole | NonEmpty
        confidence: Fraction
        resampling: Literal["latent", "attribute", "shuffled", "none"]
        alpha: Positive
        bins: Count
        clip: Annotated[float, Range(0, 0.5, high_open=True)]
        combine: Combine
        top: Count
        balance: tuple[NonEmpty, ...] | None
        controls: bool

    view = HalfWeighted
    key_metric = "accuracy"
    reporting_only = ("controls",)

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config, self.positive = config, build.info.positive
        _demand_columns(config, build)
        self.value = _code_of(config, build) if config.indicator == "attribute" else -1
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
        self.register_buffer("weights", torch.zeros(build.rows))
        if self.positive is None:
            build.report.append("dataset.positive is not set: images of all classes are debiased")

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

        The one logit of two classes is compared with 0 for the negative class.
        """
        h = self.encoder(x)
        logit = self.fc_logit(h).float()
        if self.binary:
            zero = torch.zeros_like(logit)
            logit = torch.cat([zero, logit] if self.positive else [logit, zero], 1)
        limit = self.config.logvar_limit
        return logit, self.fc_mu(h).float(), self.fc_logvar(h).float().clamp(-limit, limit)

    def before_epoch(self, table: Table, over: Over) -> dict[str, Tensor]:
        """Section 3.3: the codes of the images of interest, their histograms, the weights."""
        config, rows = self.config, positive_rows(table, self.positive)[0]
        mu = exact(over(lambda x: self.encode(x)[1], rows))
        if config.resampling == "none":
            weights = uniform_weights(mu)
        elif config.resampling == "attribute":
            assert table.labels is not None
            columns = table.attributes | {LABEL: table.labels}
            weights = balanced_weights([columns[name][rows] for name in config.balance or ()])
        else:
            weights = latent_weights(
                mu, config.bins, config.alpha, config.combine, config.top, config.clip
            )
        if config.resampling == "shuffled":  # as uneven, but blind
            weights = weights[torch.randperm(len(weights), device=weights.device)]
        self.weights.zero_()
        self.weights[rows] = weights.type_as(self.weights)
        size = effective_sample_size(weights)
        fraction = size / len(weights)
        return {"effective_sample_size": size, "effective_fraction": fraction, "code": mu}

    def step(self, batch: HalfWeighted, update: Update) -> dict[str, Tensor]:
        """Equation 1: L_y of all images, L_VAE of those of interest."""
        logits, classification, reconstruction, kl, indicated = self.losses(batch)
        vae = reconstruction + self.config.beta * kl
        # Not a product: an infinite loss of an image that does not count would be NaN.
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
            "accuracy": (logits.argmax(1) == batch.label).float().mean(),
        }

    def losses(self, batch: HalfWeighted | EvalBatch) -> tuple[Tensor, ...]:
        """Logits (B, K); L_y, the two terms of L_VAE, and who is of interest, each (B,)."""
        x, y = batch.image, batch.label
        assert y is not None
        logits, mu, logvar = self.encode(x)
        reconstruction = self.loss(self.decoder(self.reparameterize(mu, logvar)), x)
        indicated = self.indicated(logits, y, batch.attributes)
        return logits, cross_entropy(logits, y), reconstruction, gaussian_kl(mu, logvar), indicated

    def indicated(self, logits: Tensor, y: Tensor, attributes: dict[str, Tensor]) -> Tensor:
        """I_f(y): which images (B,), bool, train the autoencoder."""
        config = self.config
        if config.indicator == "attribute":
            assert config.attribute is not None
            return attributes[config.attribute] == self.value
        if config.indicator == "unsure":
            return logits.detach().softmax(1).amax(1) < config.confidence
        return torch.ones_like(y, dtype=torch.bool) if self.positive is None else y == self.positive

    def learns(self, table: Table) -> Tensor:
        """I_f(y), bool (N,); where it hangs on the classifier's doubt, any image may be learnt."""
        every = torch.ones(len(table), dtype=torch.bool, device=table.images.device)
        if self.config.indicator == "unsure" or table.labels is None:
            return every
        return self.indicated(every, table.labels, table.attributes)

    def predict(self, image: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.encode(image)[0]

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """mu and log sigma^2, each (B, latent)."""
        return self.encode(image)[1:]

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """L_y of all images; the bound at beta = 1, nats, of those of interest."""
        _, classification, reconstruction, kl, indicated = self.losses(batch)
        bound = (reconstruction + kl)[indicated]
        return {"loss": classification, "negative_elbo": bound, "kl": kl[indicated]}

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """A few images that are drawn again and again; codes that do not depend on the image."""
        lines, images = [], int((self.weights > 0).sum())
        size = float(effective_sample_size(self.weights))
        if images and size < FEW * images:
            lines.append(
                f"resampling: only {size:.0f} of {images} images count (effective sample size); "
                f"raise method.alpha above {self.config.alpha:g}"
            )
        enough = update.step >= ENOUGH
        if enough and numbers.get("active_units", 1) < 1 and self.config.resampling == "latent":
            lines.append(
                "posterior collapse: the code does not depend on the image, so all images are "
                "drawn alike; lower method.beta or method.classification"
            )
        return lines


def _demand_columns(config: DBVAE.Config, build: Builder) -> None:
    """The table's columns that the options name. Raises UserError."""
    classes = [name for name, column in build.info.attributes.items() if column.classes]
    doubts = build.info.doubts
    if config.indicator == "attribute" and config.attribute not in classes:
        expected = "a column with classes, for method.indicator=attribute"
        raise no_column("method.attribute", str(config.attribute), classes, doubts, expected)
    if config.resampling != "attribute":
        return
    known = [LABEL, *classes]
    wrong = [name for name in config.balance or () if name not in known]
    if wrong:
        raise no_column("method.balance", wrong[0], known, doubts, "a column with classes")
    if not config.balance:
        raise UserError(
            "method.balance: got null, expected the columns that method.resampling=attribute "
            f"balances, some of {', '.join(known)}"
        )


def _code_of(config: DBVAE.Config, build: Builder) -> int:
    """The number of `method.value` among the attribute's classes. Raises UserError."""
    assert config.attribute is not None
    count = build.info.attributes[config.attribute].classes or 0
    names = build.info.value_names.get(config.attribute) or tuple(map(str, range(count)))
    if str(config.value) not in names:
        raise UserError(
            f"method.value: got {config.value}, expected a value of {config.attribute}"
            f"{suggest(str(config.value), names)}"
        )
    return names.index(str(config.value))
