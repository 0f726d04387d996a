"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv 2006.07733).

The online network predicts what the target network makes of another view of the same image; the
target follows the online network as a moving average. Otherwise than in the lecture notes: their
notebook has neither a predictor nor a projector in its target (`method.predictor=none` and
`method.target_projector=false` show what that costs), concatenates the two views, which mixes their
batch norm statistics, and decays at a fixed rate. Otherwise than in the paper: the heads are
narrower (1024 against 4096), as small images are usually trained.

Expect: docs/results.md, "byol".
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.views import TwoViews
from dlrun.errors import UserError
from dlrun.methods.base import Builder, Method, Update
from dlrun.methods.ema import target_of, update_average
from dlrun.options import Count, Fraction


def head(below: int, hidden: int, above: int) -> nn.Module:
    """Projector and predictor alike: Linear, batch norm, ReLU, Linear, no batch norm behind it.

    As in the paper's implementation details; the last layer has no bias, as in the authors' code.
    """
    return nn.Sequential(
        nn.Linear(below, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, above, bias=False),
    )


def decay(tau: float, progress: float) -> float:
    """tau_k = 1 - (1 - tau) (cos(pi k / K) + 1) / 2, from tau to 1 (implementation details)."""
    return 1 - (1 - tau) * (math.cos(math.pi * progress) + 1) / 2


class BYOL(Method):
    """Encoder f, projector g, predictor q; the targets of f and g follow as moving averages."""

    @dataclass(frozen=True)
    class Config:
        tau: Fraction
        hidden: Count
        projection: Count
        predictor: Literal["mlp", "none"]
        target_projector: bool

    view = TwoViews
    model_kind = "encoder"
    loss_kind = "vectors"
    key_metric = "knn"
    cpu_bf16 = True

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.tau = config.tau
        f = build.model()
        g = head(f.feature_dim, config.hidden, config.projection)
        self.online = nn.Sequential(f, g)
        self.predictor: nn.Module = nn.Identity()
        if config.predictor == "mlp":
            self.predictor = head(config.projection, config.hidden, config.projection)
        if config.target_projector:
            self.target = target_of(self.online)
        elif config.projection == f.feature_dim:
            self.target = target_of(nn.Sequential(f))
        else:
            raise UserError(
                f"method.projection: got {config.projection}; without a target projector it must "
                f"be the model's feature width, {f.feature_dim}"
            )
        self.loss = build.loss()

    def parameter_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """The online network and its predictor; the target only follows."""
        return {"main": [*self.online.parameters(), *self.predictor.parameters()]}

    def step(self, batch: TwoViews, update: Update) -> dict[str, Tensor]:
        """Algorithm 1: the loss both ways round, each view through each network by itself."""
        v, w = batch.first, batch.second
        q1 = self.predictor(self.online(v))
        q2 = self.predictor(self.online(w))
        with torch.no_grad():  # in training mode: batch statistics, as in the paper's own code
            z1, z2 = self.target(w), self.target(v)
        loss = (self.loss(q1, z1) + self.loss(q2, z2)).mean()  # equation 2, symmetrised: in [0, 8]
        update.minimize(loss)
        spread = F.normalize(z1.float(), dim=1).std(0).mean()  # 1/sqrt(D) healthy, 0 collapsed
        return {"loss": loss, "target_std": spread}

    def after_update(self, update: Update) -> None:
        """Equation 1: the target follows, once an optimizer step."""
        tau = decay(self.tau, update.progress)
        for target, online in zip(self.target, self.online, strict=False):
            update_average(target, online, tau)

    def embed(self, image: Tensor) -> Tensor:
        """The online encoder's features (B, D), in front of the projector."""
        features: Tensor = self.online[0](image)
        return features
