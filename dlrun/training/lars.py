"""LARS (You, Gitman and Ginsburg 2017, arXiv 1708.03888, algorithm 1).

Otherwise than there: the trust ratio divides by |grad + weight_decay w|, as the code of BYOL and of
its peers does, not by |grad| + weight_decay |w|.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


class LARS(Optimizer):
    """Momentum SGD in which each adapted tensor's step has a length relative to the tensor's own.

        g = grad + weight_decay w
        v = momentum v + lr * trust |w| / |g| * g          (the ratio is 1 where a norm is 0)
        w = w - v

    A group says with `adapt` whether it is adapted at all: biases and norms are not.
    """

    def __init__(
        self, params: list[dict[str, Any]], lr: float, momentum: float = 0.9, trust: float = 1e-3
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "trust": trust,
            "weight_decay": 0.0,
            "adapt": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step over every parameter that has a gradient."""
        for group in self.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            if not used:
                continue
            gradients = [p.grad for p in used]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, used, alpha=group["weight_decay"]))
            if group["adapt"]:
                gradients = self._adapted(used, gradients, group["trust"])
            velocities = [self._velocity(p) for p in used]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients, alpha=group["lr"])
            torch._foreach_sub_(used, velocities)

    @staticmethod
    def _adapted(
        weights: list[torch.Tensor], gradients: list[torch.Tensor], trust: float
    ) -> list[torch.Tensor]:
        weight_norms = torch.stack(torch._foreach_norm(weights))
        gradient_norms = torch.stack(torch._foreach_norm(gradients))
        ratio = trust * weight_norms / gradient_norms
        usable = (weight_norms > 0) & (gradient_norms > 0)
        ratios = torch.where(usable, ratio, torch.ones_like(ratio))
        return list(torch._foreach_mul(gradients, list(ratios.unbind())))

    def _velocity(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        velocity: torch.Tensor = state["velocity"]
        return velocity
