"""BYOL: Bootstrap Your Own Latent (Grill et al. 2020, arXiv 2006.07733).

The online network predicts the target network's projection of another view of the same image; the
target follows the online network as a moving average. Otherwise than in the lecture notes: their
notebook has neither a predictor nor a projector in its target (`method.predictor=none` and
`method.target_projector=false` show what that costs), concatenates the two views, which mixes their
batch norm statistics, and decays at a fixed rate. Otherwise than in the paper: the heads are
narrower (1024, not 4096), as is usual for small images.

Expect: kNN accuracy .446 on CIFAR-10 as JPEG, .363 of raw pixels: dlrun train recipe=cifar10_byol,
17 minutes of one core (docs/results.md).
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import EvalBatch, TwoViews
from dlrun.errors import UserError
from dlrun.losses.classification import cross_entropy
from dlrun.methods.base import Builder, Method, Update
from dlrun.options import Choice, Count, Fraction, Group

# The authors' code, configs/byol.py: by how many epochs the run has at most.
TAU_PRESETS = ((70, 0.97), (600, 0.99), (math.inf, 0.996))
# Of projections that have collapsed to a point or a line: their std over the healthy 1/sqrt(D), and
# their effective rank.
LEAST_SPREAD, LEAST_RANK = 0.1, 2.0
# From this decay on the target hardly moves, which is right only at the end of a run.
STILL, NEARLY_OVER = 0.9999, 0.8


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


def preset_tau(epochs: float) -> float:
    """The decay at the start for a run of so many epochs: .97 for 40, .99 for 300."""
    return next(tau for most, tau in TAU_PRESETS if epochs <= most)


def decay(tau: float, progress: float) -> float:
    """tau_k = 1 - (1 - tau) (cos(pi k / K) + 1) / 2, from tau to 1 (implementation details)."""
    return 1 - (1 - tau) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def update_average(target: nn.Module, online: nn.Module, tau: float) -> None:
    """`target = tau target + (1 - tau) online`, over parameters; each keeps its own buffers."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), 1 - tau)


class BYOL(Method):
    """Encoder f, projector g, predictor q; the targets of f and g follow as moving averages."""

    @dataclass(frozen=True)
    class Config:
        tau: Fraction | Literal["auto"]
        hidden: Count
        projection: Count
        predictor: Literal["mlp", "none"]
        target_projector: bool
        probe_optimizer: Annotated[Choice, Group("optimizer")]

    view = TwoViews
    model_kind = "encoder"
    loss_kind = "vectors"
    key_metric = "knn"
    parts: ClassVar[dict[str, str]] = {"backbone": "online.0."}
    inference = ("online.0.",)

    def __init__(self, config: Config, build: Builder) -> None:
        super().__init__()
        self.config = config
        self.tau = preset_tau(build.epochs) if config.tau == "auto" else config.tau
        if config.tau == "auto":
            build.report.append(f"tau: {self.tau} at the start, for {build.epochs:.3g} epochs")
        f = build.model()
        g = head(f.feature_dim, config.hidden, config.projection)
        self.online = nn.Sequential(f, g)
        self.predictor: nn.Module = nn.Identity()
        if config.predictor == "mlp":
            self.predictor = head(config.projection, config.hidden, config.projection)
        target = self.online if config.target_projector else nn.Sequential(f)
        self.target = copy.deepcopy(target).requires_grad_(False)
        if not config.target_projector and config.projection != f.feature_dim:
            raise UserError(
                f"method.projection: got {config.projection}; without a target projector it must "
                f"be the model's feature width, {f.feature_dim}"
            )
        self.loss = build.loss()
        self.probe = nn.Linear(f.feature_dim, build.num_classes) if build.num_classes > 1 else None

    def parameter_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        """The online network and its predictor; the probe. The target is not trained."""
        groups: dict[str, Iterable[nn.Parameter]] = {
            "main": [*self.online.parameters(), *self.predictor.parameters()]
        }
        return groups if self.probe is None else groups | {"probe": self.probe.parameters()}

    def optimizers(self) -> dict[str, Choice]:
        """The probe has its own: LARS would adapt it and decay its weights."""
        return {} if self.probe is None else {"probe": self.config.probe_optimizer}

    def step(self, batch: TwoViews, update: Update) -> dict[str, Tensor]:
        """Algorithm 1: the loss both ways round, each view through each network by itself."""
        v, w = batch.first, batch.second
        f, g = self.online
        h = f(v)
        q1 = self.predictor(g(h))
        q2 = self.predictor(self.online(w))
        with torch.no_grad():  # in training mode: batch statistics, as in the paper's own code
            z1, z2 = self.target(w), self.target(v)
        loss = (self.loss(q1, z1) + self.loss(q2, z2)).mean()  # equation 2, symmetrised: in [0, 8]
        update.minimize(loss)
        spread = F.normalize(z1.float(), dim=1).std(0).mean()  # 1/sqrt(D) healthy, 0 collapsed
        metrics = {"loss": loss, "target_std": spread}
        if self.probe is not None and batch.label is not None:
            metrics["probe_accuracy"] = self.learn_probe(h.detach(), batch.label, update)
        return metrics

    def learn_probe(self, features: Tensor, label: Tensor, update: Update) -> Tensor:
        """A linear classifier beside the training, which learns nothing from it: its accuracy."""
        assert self.probe is not None
        logits = self.probe(features)
        update.minimize(cross_entropy(logits, label).mean(), "probe")
        return (logits.argmax(1) == label).float().mean()

    def after_update(self, update: Update) -> None:
        """Equation 1: the target follows, once an optimizer step."""
        tau = decay(self.tau, update.progress)
        for target, online in zip(self.target, self.online, strict=False):
            update_average(target, online, tau)

    def embed(self, image: Tensor) -> Tensor:
        """The online encoder's features (B, D), in front of the projector."""
        return self.online[0](image)

    def project(self, image: Tensor) -> Tensor:
        """The online network's projections (B, D)."""
        return self.online(image)

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        """The online probe on held-out images."""
        if self.probe is None or batch.label is None:
            return {}
        right = self.probe(self.embed(batch.image)).argmax(1) == batch.label
        return {"probe_accuracy": right.float()}

    def warnings(self, numbers: dict[str, float], update: Update) -> list[str]:
        """Projections that have collapsed, which the loss does not show; a target that is stuck."""
        width, tau = self.config.projection, decay(self.tau, update.progress)
        spread, rank = numbers.get("projection_std", 1.0), numbers.get("projection_rank", math.inf)
        if spread < LEAST_SPREAD / math.sqrt(width) or rank < LEAST_RANK:
            return [
                f"the projections have collapsed (std {spread:.2g}, healthy is about "
                f"{width**-0.5:.2g}; rank {rank:.1f} of {width}): see docs/troubleshooting.md"
            ]
        if tau > STILL and update.progress < NEARLY_OVER:
            return [f"tau is {tau:.5f}: the target does not follow the online network"]
        return []
