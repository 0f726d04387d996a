"""Muon (Jordan 2024, https://kellerjordan.github.io/posts/muon/): orthogonal steps for weights.

Otherwise than there: the momentum is a running mean, not a sum, which the iteration's norm makes
the same; weight decay is decoupled, as in Liu et al. 2025 (arXiv 2502.16982); and a network's first
and last layer take part, as their shapes do not tell them from the others.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the post: steep at 0, so that five steps are enough
ITERATIONS = 5
SMALLEST_NORM = 1e-7


class Muon(Optimizer):
    """Two optimizers in one; a group says with `orthogonal` which is its own.

    Orthogonal, for tensors of two dimensions or more, a convolution's filters as the matrix
    (out, rest):

        m = momentum m + (1 - momentum) grad
        u = momentum m + (1 - momentum) grad, with nesterov; else m
        w = (1 - lr * weight_decay) w - lr * sqrt(max(1, rows / columns)) * orthogonal(u)

    The others: AdamW (Loshchilov and Hutter 2019) with `betas` and `eps`.
    """

    def __init__(
        self,
        params: list[dict[str, Any]],
        lr: float,
        momentum: float = 0.95,
        nesterov: bool = True,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "betas": betas,
            "eps": eps,
            "weight_decay": 0.0,
            "orthogonal": True,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step over every parameter that has a gradient."""
        for group in self.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            if not used:
                continue
            gradients = [p.grad for p in used if p.grad is not None]
            if group["orthogonal"]:
                self._orthogonal_step(group, used, gradients)
            else:
                self._adamw_step(group, used, gradients)

    def _orthogonal_step(
        self, group: dict[str, Any], used: list[Tensor], gradients: list[Tensor]
    ) -> None:
        means = self._means(used, "momentum")
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        directions = means
        if group["nesterov"]:
            directions = list(torch._foreach_lerp(gradients, means, group["momentum"]))
        steps = orthogonalised(directions)
        torch._foreach_mul_(used, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(used, steps, alpha=-group["lr"])

    def _adamw_step(
        self, group: dict[str, Any], used: list[Tensor], gradients: list[Tensor]
    ) -> None:
        for parameter in used:
            if "step" not in self.state[parameter]:
                self.state[parameter]["step"] = torch.tensor(0.0)
        adamw(
            used,
            gradients,
            self._means(used, "exp_avg"),
            self._means(used, "exp_avg_sq"),
            [],
            [self.state[p]["step"] for p in used],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _means(self, parameters: list[Tensor], name: str) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]


def orthogonalised(tensors: list[Tensor]) -> list[Tensor]:
    """Each tensor (out, ...) as the matrix (out, rest), orthogonal, times sqrt(max(1, out / rest)).

    Those of one shape, as most of a deep network's are, are worked on together.
    """
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, tensor in enumerate(tensors):
        alike[tuple(tensor.shape)].append(place)
    steps = list(tensors)
    for shape, places in alike.items():
        matrices = torch.stack([tensors[place].flatten(1) for place in places])
        rows, columns = matrices.shape[1:]
        found = newton_schulz(matrices) * max(1.0, rows / columns) ** 0.5
        for place, step in zip(places, found, strict=True):
            steps[place] = step.view(shape).to(tensors[place].dtype)
    return steps


def newton_schulz(matrices: Tensor) -> Tensor:
    """Of matrices U S V^T, (B, rows, columns), about U V^T.

    Singular values above 0.003 of the Frobenius norm come to lie in [0.68, 1.21]. In bfloat16 on a
    CUDA device, where it is much faster; a CPU may have to imitate it.
    """
    a, b, c = COEFFICIENTS
    device = matrices.device.type
    wide = matrices.size(1) <= matrices.size(2)
    x = matrices if wide else matrices.mT  # the smaller of the two Gram matrices
    with torch.autocast(device, enabled=False):
        x = x.to(torch.bfloat16 if device == "cuda" else torch.float32)
        x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=SMALLEST_NORM)
        for _ in range(ITERATIONS):
            gram = x @ x.mT
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
    orthogonal: Tensor = x if wide else x.mT
    return orthogonal
