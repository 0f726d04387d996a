"""CycleGAN: unpaired image-to-image translation (Zhu et al. 2017, arXiv 1703.10593).

Two generators and two discriminators, in the order of the authors' own code: both generators on the
adversarial, cycle and identity losses, then each discriminator on real images and on translations
from the pool. Otherwise than in the lecture notes: the labels have the shape of the discriminator's
map of patches, an identity loss keeps colours, and the discriminators see pooled translations.
Instance norm treats every image by itself, so translation and identity share one call of a
generator, and real and translated images one call of a discriminator: the same numbers, fewer
calls.

On held-out images it measures what its losses do not show: whether a translation has its image's
colours inverted, and whether it is the image itself.

Expect: 1.00 and .96 of the translations classified as their target: dlrun train
recipe=sneaker_to_boot, 84 seconds of two cores (docs/results.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from dlrun.data.batches import EvalBatch, Unpaired
from dlrun.methods.abilities import Direction
from dlrun.methods.base import Builder, Method, Update
from dlrun.models.discriminator import ImagePool
from dlrun.options import Choice, Group, NonNegative, Whole

MEMORY = 0.99  # of the discriminators' mean losses, over about a hundred steps
INVERTED = -0.1  # correlation; untrained generators reach about -0.1 by chance
UNCHANGED = 0.1  # mean absolute change, as a fraction of the image's own spread
SATURATED = 0.1  # of the loss of a discriminator that guesses


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference, float32."""
    return (x.float() - y.float()).abs().mean()


class CycleGAN(Method):
    """G_AB: A to B, G_BA: B to A; D_A and D_B tell real images from translated ones."""

    recent_losses: Tensor
    """Of D_A and D_B (2,), a moving average."""

    @dataclass(frozen=True)
    class Config:
        discriminator: Annotated[Choice, Group("model", "discriminator")]
        cycle: NonNegative
        identity: NonNegative
        pool: Whole

    view = Unpaired
    model_kind = "generator"
    loss_kind = "scores"
    pixels = "symmetric"
    key_metric = "target_share"
    inference = ("G_AB.", "G_BA.")

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        self.G_AB, self.G_BA = build.model(), build.model()
        self.D_A = build.network(config.discriminator)
        self.D_B = build.network(config.discriminator)
        self.pool_A = ImagePool(config.pool, build.image_shape)
        self.pool_B = ImagePool(config.pool, build.image_shape)
        self.gan_loss = build.loss()
        self.domains = build.info.domains
        self.guessing = getattr(self.gan_loss, "guessing", 0.0)
        self.register_buffer("recent_losses", torch.full((2,), self.guessing))
        sizes = " and ".join(f"{domain.name} ({domain.images:,} images)" for domain in self.domains)
        build.report.append(
            f"domains A and B: {sizes}; generators' loss: adversarial + {config.cycle:g} cycle + "
            f"{config.cycle * config.identity:g} identity"
        )

    def parameter_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """One optimizer for both generators, one for each discriminator, as in the notes."""
        return {
            "generators": [*self.G_AB.parameters(), *self.G_BA.parameters()],
            "discriminator_B": self.D_B.parameters(),
            "discriminator_A": self.D_A.parameters(),
        }

    def step(self, batch: Unpaired, update: Update) -> dict[str, Tensor]:
        """The generators, then each discriminator."""
        A, B = batch.a, batch.b

        fake_B, same_B = self.G_AB(torch.cat([A, B])).chunk(2)
        fake_A, same_A = self.G_BA(torch.cat([B, A])).chunk(2)
        recov_A = self.G_BA(fake_B)
        recov_B = self.G_AB(fake_A)

        loss_G_AB = self.gan_loss(self.D_B(fake_B), real=True, for_generator=True)  # equation 1
        loss_G_BA = self.gan_loss(self.D_A(fake_A), real=True, for_generator=True)
        loss_cycle = l1(recov_A, A) + l1(recov_B, B)  # equation 2
        loss_identity = l1(same_A, A) + l1(same_B, B)  # section 5.2
        cycle, identity = self.config.cycle, self.config.cycle * self.config.identity
        loss_G = loss_G_AB + loss_G_BA + cycle * loss_cycle + identity * loss_identity  # equation 3
        update.minimize(loss_G, "generators")

        loss_D_B = self.discriminator_loss(self.D_B, B, self.pool_B.query(fake_B))
        update.minimize(loss_D_B, "discriminator_B")

        loss_D_A = self.discriminator_loss(self.D_A, A, self.pool_A.query(fake_A))
        update.minimize(loss_D_A, "discriminator_A")

        now = torch.stack([loss_D_A, loss_D_B]).detach().float()
        self.recent_losses.lerp_(now, 1 - MEMORY)
        return {
            "generators": loss_G,
            "adversarial": loss_G_AB + loss_G_BA,
            "cycle": loss_cycle,
            "identity": loss_identity,
            "discriminators": loss_D_A + loss_D_B,
        }

    def discriminator_loss(self, D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """Half the loss on real images, half on translations that carry no gradient."""
        scores_real, scores_fake = D(torch.cat([real, fake])).chunk(2)
        loss_real = self.gan_loss(scores_real, real=True)
        loss_fake = self.gan_loss(scores_fake, real=False)
        return (loss_real + loss_fake) / 2

    def translate(self, image: Tensor, direction: Direction) -> Tensor:
        """In [0, 1]."""
        generator = self.G_AB if direction == "a_to_b" else self.G_BA
        return (generator(image).float() + 1) / 2

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """How a translation compares with its image, of the images of either domain."""
        metrics: dict[str, Tensor] = {}
        if batch.label is None:
            return metrics
        for domain, generator, way in zip(
            self.domains, (self.G_AB, self.G_BA), ("a_to_b", "b_to_a"), strict=False
        ):
            x = batch.image[batch.label == domain.label]
            if len(x):
                y = generator(x)
                metrics[f"correlation_{way}"] = correlation(x, y)
                metrics[f"change_{way}"] = change(x, y)
        return metrics

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """Inverted colours, translations that are their images, saturated discriminators."""
        lines, names = [], [domain.name for domain in self.domains]
        for way, ends in (("a_to_b", names), ("b_to_a", names[::-1])):
            correlated = numbers.get(f"correlation_{way}", 0.0)
            changed = numbers.get(f"change_{way}", 1.0)
            if correlated < INVERTED:
                lines.append(
                    f"{' to '.join(ends)} inverts colours (correlation of an image and its "
                    f"translation {correlated:.2f}); this rarely recovers: restart with a larger "
                    f"method.identity than {self.config.identity:g}, or another seed"
                )
            if changed < UNCHANGED:
                lines.append(
                    f"{' to '.join(ends)} returns its input (changed by {changed:.0%} of an "
                    "image's spread); lower method.identity or method.cycle"
                )
        for name, loss in zip(names, self.recent_losses, strict=False):
            if 0 <= loss < SATURATED * self.guessing:
                lines.append(
                    f"the discriminator of {name} is saturated (loss {float(loss):.2g}, guessing "
                    f"gives {self.guessing:.2g}), so its generator learns little; make it smaller, "
                    "or raise method.pool"
                )
        return lines


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's over the pixels and channels of each image, in [-1, 1].

    Of (B, C, H, W) twice: (B,); 0 where one of the two has a single colour.
    """
    x, y = (image.float().flatten(1) for image in (x, y))
    x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
    norms: Tensor = x.norm(dim=1) * y.norm(dim=1)
    return (x * y).sum(1) / norms.clamp_min(1e-8)


def change(x: Tensor, y: Tensor) -> Tensor:
    """Mean |y - x| over mean |x - mean(x)|: 1 is as far away as the image's mean colour.

    Of (B, C, H, W) twice: (B,).
    """
    x, y = (image.float().flatten(1) for image in (x, y))
    spread = (x - x.mean(1, keepdim=True)).abs().mean(1)
    return (y - x).abs().mean(1) / spread.clamp_min(1e-3)
