"""Telling when unpaired translation goes wrong, and what helps: its losses do not."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data.info import DataInfo

# Untrained generators correlate with their images by chance, at most by about a tenth.
_INVERTED = -0.1
# Mean absolute difference, as a share of the image's own: a translation that shows nothing.
_UNCHANGED = 0.1
# Of the loss of a discriminator that guesses.
_SATURATED = 0.1
_GUESSES = 201  # of constant scores, from -1 to 1


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


def guessing(loss: nn.Module) -> float:
    """The lowest loss of a discriminator that gives every image the same score.

    1/4 for least squares, ln 2 for cross-entropy, 1 for the hinge.
    """
    scores = torch.linspace(-1, 1, _GUESSES)
    return min(float(loss(score, real=True) + loss(score, real=False)) / 2 for score in scores)


def summary(
    info: DataInfo, cycle: float, identity: float, pool: int, field: int | None
) -> list[str]:
    """For people, before training: the domains, and every weight in absolute terms.

    Args:
        info: of the data set.
        cycle: weight of the cycle loss.
        identity: weight of the identity loss, relative to `cycle`.
        pool: translations that are kept.
        field: pixels, side of the discriminators' patches, where it is known.
    """
    lines = []
    if info.domains:
        a, b = (f"{domain.name} ({domain.images:,} images)" for domain in info.domains)
        most = max(domain.images for domain in info.domains)
        lines.append(f"domains: A is {a}, B is {b}; an epoch shows {most:,} of each, unpaired")
    lines.append(
        f"generators' loss, each way: adversarial x 1 + cycle x {cycle:g} + identity x "
        f"{cycle * identity:g} (method.identity={identity:g} of the cycle's weight)"
    )
    if field is not None:
        _, height, width = info.image_shape
        lines.append(
            f"discriminators: a score for each patch of {field} x {field} pixels, images are "
            f"{height} x {width}; shown again: a pool of {pool} translations"
        )
    return lines


@dataclass(frozen=True)
class Signs:
    """What `translation_warnings` looks at.

    Attributes:
        names: of the domains A and B.
        numbers: of val; `correlation_*` and `change_*`, where they are there.
        losses: of D_A and D_B of late.
        guessing: that of a discriminator that guesses.
        cycle: the weight in force.
        identity: the weight in force, relative to `cycle`.
        discriminator: its options.
    """

    names: tuple[str, str]
    numbers: dict[str, float]
    losses: tuple[float, ...]
    guessing: float
    cycle: float
    identity: float
    discriminator: Any


def translation_warnings(signs: Signs) -> list[str]:
    """A line each for inverted colours, unchanged images and saturated discriminators."""
    lines = []
    for way, (source, target) in (("a_to_b", signs.names), ("b_to_a", signs.names[::-1])):
        correlated, changed = (signs.numbers.get(f"{n}_{way}") for n in ("correlation", "change"))
        if correlated is not None and correlated < _INVERTED:
            lines.append(
                f"{source} to {target} inverts colours (correlation of an image and its "
                f"translation {correlated:.2f}). {_against_inversion(signs)}"
            )
        if changed is not None and changed < _UNCHANGED:
            lines.append(
                f"{source} to {target} returns its input (changed by {changed:.0%} of an image's "
                f"spread). {_against_standing_still(signs)}"
            )
    for name, loss in zip(signs.names, signs.losses, strict=True):
        if signs.guessing > 0 and loss < _SATURATED * signs.guessing:
            lines.append(
                f"the discriminator of {name} is saturated (loss {loss:.2g}; one that guesses has "
                f"{signs.guessing:.2g}), so its generator learns little. {_weaker(signs)}"
            )
    return lines


def _against_inversion(signs: Signs) -> str:
    """The identity loss shows a generator what its target's colours are."""
    cycle = "" if signs.cycle else "method.cycle=10 "
    wanted = 0.5 if signs.identity < 0.5 else 2 * signs.identity
    flag = f"{cycle}method.identity={wanted:g}"
    return f"It seldom mends itself: begin again with {flag}, or with another seed"


def _against_standing_still(signs: Signs) -> str:
    if signs.identity > 0 and signs.cycle > 0:
        lower = 0.1 if signs.identity > 0.1 else 0
        return f"Lower the identity loss: method.identity={lower:g} (now {signs.identity:g})"
    if signs.cycle > 0:
        return f"Lower the cycle loss: method.cycle={signs.cycle / 2:g} (now {signs.cycle:g})"
    return "Strengthen the discriminators: method.discriminator.width, .layers"


def _weaker(signs: Signs) -> str:
    width = getattr(signs.discriminator, "width", 0)
    smaller = f"method.discriminator.width={width // 2}, or " if width > 1 else ""
    return f"Weaken it with {smaller}show it more: augment=crop_flip, a larger method.pool"
