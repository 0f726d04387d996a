"""A mixture of Gaussians fitted to codes, to draw new codes from.

An autoencoder has no prior, and a VAE's codes do not fill theirs: drawing codes where codes lie
makes better images of the same network (Ghosh et al. 2020, arXiv 1903.12436).
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal
from torch.nn import functional as F

from dlrun.data.table import some_rows
from dlrun.evaluation.inference import Inference
from dlrun.methods.abilities import Embeds
from dlrun.randomness import generator

_COMPONENTS = 10  # Ghosh et al. 2020, section 5
_FITTED = 1000  # codes are enough for a mixture, and quick
_ITERATIONS = 50
_RIDGE = 1e-4  # of the codes' mean variance, onto every covariance: no component on one code


@dataclass(frozen=True)
class Mixture:
    """sum_k weight_k N(mean_k, L_k L_k^T): (K,), (K, D), (K, D, D) lower triangular; float64."""

    weight: Tensor
    mean: Tensor
    factor: Tensor

    @classmethod
    def fitted(cls, codes: Tensor, components: int, seed: int) -> Self:
        """By expectation maximisation on codes (N, D), from the clusters around some of them.

        These are drawn by k-means++ (Arthur and Vassilvitskii 2007): far codes are likelier.
        """
        codes = codes.double().cpu()
        chosen = codes[:1]
        draw = generator(seed, "mixture")
        while len(chosen) < min(components, len(codes)):
            far = torch.cdist(codes, chosen).min(1).values.square() + 1e-12
            chosen = torch.cat([chosen, codes[torch.multinomial(far, 1, generator=draw)]])
        belongs = torch.cdist(codes, chosen).argmin(1)
        mixture = cls._of(codes, F.one_hot(belongs, len(chosen)).double())
        last = -math.inf
        for _ in range(_ITERATIONS):
            joint = mixture.joint(codes)
            value = float(joint.logsumexp(1).mean())
            if value - last < 1e-4 * abs(value):
                break
            last = value
            mixture = cls._of(codes, joint.softmax(1))
        return mixture

    @classmethod
    def _of(cls, codes: Tensor, share: Tensor) -> Self:
        """The maximisation step: `share` (N, K), how much each code belongs to each component."""
        count = share.sum(0).clamp(min=1e-9)
        mean = share.T @ codes / count[:, None]
        weighted = (codes - mean[:, None]) * share.T[..., None].sqrt()  # (K, N, D)
        spread = weighted.mT @ weighted / count[:, None, None]
        ridge = _RIDGE * codes.var(0, correction=0).mean().clamp(min=1e-12)
        eye = torch.eye(codes.shape[1], dtype=torch.float64)
        return cls(count / count.sum(), mean, torch.linalg.cholesky(spread + ridge * eye))

    def joint(self, codes: Tensor) -> Tensor:
        """log weight_k N(x; mean_k, ...) of codes (N, D), float64: (N, K). Its logsumexp: log p."""
        gaussians = MultivariateNormal(self.mean, scale_tril=self.factor, validate_args=False)
        found: Tensor = self.weight.log() + gaussians.log_prob(codes[:, None])
        return found

    def sample(self, n: int) -> Tensor:
        """n codes (n, D), float32, drawn with the default generator."""
        component = torch.multinomial(self.weight, n, replacement=True)
        noise = torch.randn(n, self.mean.shape[1], dtype=torch.float64)
        drawn = self.mean[component] + (self.factor[component] @ noise[..., None])[..., 0]
        return drawn.float()


def codes_mixture(inference: Inference, method: Embeds, seed: int) -> Mixture:
    """A mixture fitted to the codes of 1,000 of the train images that the decoder learns."""
    train = inference.data.train
    rows = inference.decoded(train)
    codes = inference.over(train, method.embed, rows[some_rows(len(rows), _FITTED, "mixture")])
    return Mixture.fitted(codes, _COMPONENTS, seed)
