"""How good features are: neighbours, retrieval, a linear layer, and how far they spread."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

KNN_K = 20
# Wu et al. 2018, arXiv 1805.01978, section 3.4; fixed, never tuned on a split.
KNN_TEMPERATURE = 0.07
PROBE_L2 = 1e-3  # fixed likewise
PROBE_ITERATIONS = 100
_CHUNK = 1000
_QUERIES = 250  # of a retrieval at a time; with 10,000 images 10 MB of cosines
_STEPS = 2**29  # of a cosine, between 0 and 1; float32 has no more than 2^24 near 1


@contextmanager
def full_precision() -> Iterator[None]:
    """As a decorator: distances and fits are float32 even if the network ran in bf16 or TF32."""
    matmul = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)


@full_precision()
def knn_predict(bank: Tensor, bank_labels: Tensor, queries: Tensor, k: int = KNN_K) -> Tensor:
    """The class with the most weight among the k nearest by cosine, weight exp(cos / 0.07).

    From features (N, D), float32, with int64 labels (N,), for queries (M, D): int64 (M,).
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


@full_precision()
def nearest(bank: Tensor, queries: Tensor, k: int) -> Tensor:
    """Rows of the k nearest by cosine, (M, k), nearest first."""
    return (F.normalize(queries, dim=1) @ F.normalize(bank, dim=1).T).topk(k, dim=1).indices


@full_precision()
def linear_probe(train: Tensor, labels: Tensor, test: Tensor) -> Tensor:
    """Classes that a linear layer, fitted to the frozen train features, gives the test features.

    Multinomial logistic regression on standardised features with an L2 penalty, by L-BFGS over the
    whole train set, so that there is no learning rate to choose.

    From features (N, D), float32, with int64 labels (N,), for features (M, D): int64 (M,).
    """
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    x = (train - mean) / std
    classes = int(labels.max()) + 1
    with torch.inference_mode(False), torch.enable_grad():
        if x.is_inference():
            x, labels = x.clone(), labels.clone()
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


@full_precision()
def spread(projections: Tensor) -> dict[str, float]:
    """How far projections (N, D) are from a collapse, whatever the loss is.

    `projection_std`: mean standard deviation of the unit vectors' coordinates, 1/sqrt(D) if they
    point everywhere and 0 if all are one. `projection_rank`: effective rank of the centred vectors,
    exp of the entropy of their normalised singular values (Roy and Vetterli 2007), 1 to D.
    """
    if len(projections) < 2:
        return {}
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
    return float((predicted == labels).cpu().double().mean())  # not every device has float64


# Retrieval: each image of a split searches all others of it, by cosine, which has the same order as
# Euclidean distance for unit vectors and suits features that were never normalised. An image whose
# class has no other image is not a query, but it is among what the others search. Images of other
# classes win a tie, so that features which are all equal gain nothing by the table's order.


def queries(labels: Tensor) -> Tensor:
    """Which images, bool (N,), have another one of their class, of int64 labels (N,)."""
    return labels.bincount()[labels] > 1


@full_precision()
def recall_at_k(features: Tensor, labels: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """The fraction of queries with an image of their class among the k nearest.

    As in metric learning (Oh Song et al. 2016, arXiv 1511.06452); elsewhere, recall is the fraction
    of the class that was found.

    Of features (N, D), float32, and int64 labels (N,), for each of `ks`; NaN without queries.
    """
    ahead = []  # how many images of other classes come before the first of the query's
    for cosine, hit in _compared(features, labels):
        first = cosine.masked_fill(~hit, -torch.inf).amax(1, keepdim=True)
        ahead.append((~(cosine < first) & ~hit).sum(1))  # of NaN, all of them
    counts = torch.cat(ahead) if ahead else torch.empty(0)
    return {k: float((counts < k).cpu().double().mean()) for k in ks}


def recalls(features: Tensor, labels: Tensor) -> dict[str, float]:
    """`recall_at_1` and `recall_at_5`."""
    return {f"recall_at_{k}": value for k, value in recall_at_k(features, labels, (1, 5)).items()}


@full_precision()
def mean_average_precision(features: Tensor, labels: Tensor) -> float:
    """The mean over queries of average precision: the mean precision at each image of the class.

    Manning, Raghavan and Schuetze 2008, "Introduction to information retrieval", section 8.4, over
    the whole list.

    Of features (N, D), float32, and int64 labels (N,); NaN without queries.
    """
    rank = torch.arange(1, len(labels) + 1, device=labels.device)
    found = [torch.empty(0, dtype=torch.float64)]
    for cosine, hit in _compared(features, labels):
        # Sorting whole numbers with the hit in the last bit is faster than sorting with indices.
        cosine = cosine.nan_to_num(nan=-2, neginf=-2)
        keys = (cosine * _STEPS).int() * 2 + (~hit).int()
        hit = keys.sort(dim=1, descending=True).values % 2 == 0
        precision = hit.cumsum(1, dtype=torch.int32) / rank
        found.append((precision * hit).cpu().double().sum(1) / hit.sum(1).cpu())
    return float(torch.cat(found).mean())


def _compared(features: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Queries in parts: cosines (Q, N), -inf with itself, and which are of its class, (Q, N)."""
    x = F.normalize(features.float(), dim=1)
    for rows in queries(labels).nonzero()[:, 0].split(_QUERIES):
        itself = torch.arange(len(rows), device=rows.device), rows
        cosine, hit = x[rows] @ x.T, labels[rows, None] == labels
        cosine[itself], hit[itself] = -torch.inf, False
        yield cosine, hit
