"""How good features are: neighbours and a linear layer, both on features computed once."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

P = ParamSpec("P")
R = TypeVar("R")

KNN_K = 20
# Wu et al. 2018, arXiv 1805.01978, section 3.4; fixed, never tuned on a split.
KNN_TEMPERATURE = 0.07
PROBE_L2 = 1e-3  # fixed likewise
PROBE_ITERATIONS = 100
_CHUNK = 1000


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Distances and fits are float32 also where the network ran in bf16 or TF32."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        matmul = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
                return function(*args, **kwargs)
        finally:
            torch.set_float32_matmul_precision(matmul)

    return inner


@full_precision
def knn_predict(bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int = KNN_K) -> Tensor:
    """The class with the most weight among the k nearest by cosine, weight exp(cos / 0.07).

    Args:
        bank: features (N, D), float32.
        bank_labels: int64 (N,).
        queries: features (M, D).
        k: neighbours; all of the bank where it is smaller.

    Returns:
        int64 (M,).
    """
    bank = F.normalize(bank, dim=1)
    classes = int(bank_labels.max()) + 1
    predicted = []
    for part in F.normalize(queries, dim=1).split(_CHUNK):
        similarity, nearest = (part @ bank.T).topk(min(k, len(bank)), dim=1)
        # The largest cosine is 1, so the largest weight is 1 once that is taken off.
        weight = ((similarity - 1) / KNN_TEMPERATURE).exp()
        votes = torch.zeros(len(part), classes, device=bank.device)
        votes.scatter_add_(1, bank_labels[nearest], weight)
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)


@full_precision
def nearest(bank: Tensor, queries: Tensor, k: int) -> Tensor:
    """Rows of the k nearest by cosine, (M, k), nearest first."""
    return (F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T).topk(k, dim=1).indices


@full_precision
def linear_probe(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """Classes that a linear layer, fitted to the frozen train features, gives the test features.

    Multinomial logistic regression on standardised features with an L2 penalty, by L-BFGS over the
    whole train set, so that there is no learning rate to choose.

    Args:
        train: (N, D), float32.
        labels: int64 (N,).
        test: (M, D).

    Returns:
        int64 (M,).
    """
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    x = (train - mean) / std
    classes = int(labels.max()) + 1
    with torch.inference_mode(False), torch.enable_grad():
        x, labels = x.clone(), labels.clone()  # out of inference mode
        weight = torch.zeros(classes, x.shape[1], device=x.device, requires_grad=True)
        bias = torch.zeros(classes, device=x.device, requires_grad=True)
        solver = torch.optim.LBFGS(
            [weight, bias], max_iter=PROBE_ITERATIONS, line_search_fn="strong_wolfe"
        )

        def closure() -> Tensor:
            solver.zero_grad()
            loss = F.cross_entropy(x @ weight.T + bias, labels) + PROBE_L2 * weight.square().sum()
            loss.backward()
            return loss

        solver.step(closure)
    scores: Tensor = ((test - mean) / std) @ weight.detach().T + bias.detach()
    return scores.argmax(1)


@full_precision
def spread(projections: Tensor) -> dict[str, float]:
    """How far projections (N, D) are from having collapsed, whatever the loss says.

    `projection_std`: mean standard deviation of the unit vectors' coordinates; 1/sqrt(D) where they
    point everywhere, 0 where all are one. `projection_rank`: effective rank of the centred vectors,
    exp of the entropy of their normalised singular values (Roy and Vetterli 2007), 1 to D.
    """
    if len(projections) < 2:
        return {}  # a single one has no spread
    unit = F.normalize(projections, dim=1)
    centred = unit - unit.mean(0)
    singular = torch.linalg.svdvals(centred)
    share = singular / singular.sum().clamp_min(1e-12)
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    return {
        "projection_std": float(unit.std(0).mean()),
        "projection_rank": float(entropy.exp()),
    }


def share_equal(predicted: Tensor, labels: Tensor) -> float:
    """Accuracy in [0, 1]."""
    return float((predicted == labels).double().mean())
