"""Baselines that need no training, from the train split: each takes raw pixels in [0, 1]."""

import math

import torch
from torch import Tensor

from dlrun.data.table import DataSet, Table, domain_rows
from dlrun.evaluation.features import (
    knn_predict,
    linear_probe,
    mean_average_precision,
    recalls,
    share_equal,
)
from dlrun.losses.reconstruction import binarize


def trivial(
    data: DataSet, split: str, numbers: dict[str, float], code_dim: int = 0
) -> dict[str, float]:
    """For each of `numbers` that has one, the baseline without training on `split`.

    `code_dim`: of a method that has codes, so that a baseline may have as many dimensions.
    """
    table: Table = getattr(data, split)
    found: dict[str, float] = {}
    train, test = raw(data.train), raw(table)
    if data.train.labels is not None and table.labels is not None:
        labels, wanted = data.train.labels.cpu(), table.labels.cpu()
        if "accuracy" in numbers:
            found["accuracy"] = share_equal(labels.mode().values, wanted)
        if "knn" in numbers:
            found["knn"] = share_equal(knn_predict(train, labels, test), wanted)
        if "linear_probe" in numbers:
            found["linear_probe"] = share_equal(linear_probe(train, labels, test), wanted)
        if "recall_at_1" in numbers:
            found |= recalls(test, wanted)
        if "mean_average_precision" in numbers:
            found["mean_average_precision"] = mean_average_precision(test, wanted)
    if "reconstruction_error" in numbers:
        found["reconstruction_error"] = float((test - train.mean(0)).square().mean())
    if code_dim and code_dim < train.shape[1]:
        found |= _of_codes(train, test, numbers, code_dim)
    for name, column in data.train.attributes.items():
        found |= _of_column(name, column.cpu(), table.attributes[name].cpu(), numbers)
    if "target_share" in numbers:
        domains = DomainNeighbours(data)
        a, b = (raw(table, rows) for rows in domain_rows(data, split))
        share = min(domains.share(a, 1), domains.share(b, 0))
        found |= {"target_share": share, "cycle_error": 0.0}
    return found


def _of_codes(
    train: Tensor, test: Tensor, numbers: dict[str, float], code_dim: int
) -> dict[str, float]:
    found = {}
    if "squared_error" in numbers:
        found["squared_error"] = pca_squared_error(train, test, code_dim)
    if "negative_log_density" in numbers:
        found["negative_log_density"] = ppca_negative_log_density(train, test, code_dim)
    if "negative_log_likelihood" in numbers:
        value = independent_negative_log_likelihood(*(binarize(x) for x in (train, test)))
        bits = value / (train.shape[1] * math.log(2))
        found |= {"negative_log_likelihood": value, "bits_per_dimension": bits}
    return found


def _of_column(
    name: str, train: Tensor, wanted: Tensor, numbers: dict[str, float]
) -> dict[str, float]:
    """The most frequent known class, or the median of the known numbers."""
    train, wanted = (
        column[~column.isnan() if column.is_floating_point() else column >= 0]
        for column in (train, wanted)
    )
    found: dict[str, float] = {}
    if not len(train) or not len(wanted):
        return found
    if f"accuracy_{name}" in numbers:
        found[f"accuracy_{name}"] = share_equal(train.mode().values, wanted)
    if f"absolute_error_{name}" in numbers:
        error = (train.double().median() - wanted.double()).abs().mean()
        found[f"absolute_error_{name}"] = float(error)
    return found


class DomainNeighbours:
    """Classifies images as one of the two domains by the 20 nearest train images."""

    def __init__(self, data: DataSet) -> None:
        a, b = domain_rows(data)
        self.bank = raw(data.train, torch.cat([a, b]))
        self.labels = torch.cat([torch.zeros(len(a)), torch.ones(len(b))]).long()

    def share(self, images: Tensor, target: int) -> float:
        """The fraction of `images` (N, D), raw pixels in [0, 1], classified as `target`, 0 or 1."""
        return float((knn_predict(self.bank, self.labels, images) == target).double().mean())


def raw(table: Table, rows: Tensor | None = None) -> Tensor:
    """Pixels (N, D) in [0, 1] on the CPU, of the whole table or of some rows."""
    images = table.images.cpu()
    return (images if rows is None else images[rows]).flatten(1).float().div_(255)


def pca_squared_error(train: Tensor, test: Tensor, size: int) -> float:
    """The mean squared error of an image reconstructed from `size` principal components."""
    mean, _, vectors = _spectrum(train)
    centred = test.double() - mean
    inside = centred @ vectors[:, :size]
    return float((centred.square().sum(1) - inside.square().sum(1)).mean())


def ppca_negative_log_density(train: Tensor, test: Tensor, size: int) -> float:
    """-log N(x; mean, W W^T + sigma^2 I) with the most likely W and sigma, in nats an image.

    Probabilistic PCA (Tipping and Bishop 1999, equations 4, 7 and 8); `size` is below D.
    """
    mean, values, vectors = _spectrum(train)
    dim = len(values)
    noise = values[size:].mean().clamp(min=1e-12)
    kept = values[:size].clamp(min=1e-12)
    centred = test.double() - mean
    inside = (centred @ vectors[:, :size]).square()
    outside = centred.square().sum(1) - inside.sum(1)
    distance = (inside / kept).sum(1) + outside / noise
    log_determinant = kept.log().sum() + (dim - size) * noise.log()
    return float(0.5 * (distance.mean() + log_determinant + dim * math.log(2 * math.pi)))


def independent_negative_log_likelihood(train: Tensor, test: Tensor) -> float:
    """-log p(x) of independent pixels, 0 or 1, in nats an image.

    Half a pixel of either kind is added to the counts (Krichevsky and Trofimov 1981), so that no
    probability is 0.
    """
    chance = (train.double().sum(0) + 0.5) / (len(train) + 1)
    test = test.double()
    return -float((test * chance.log() + (1 - test) * (1 - chance).log()).sum(1).mean())


def _spectrum(train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), and the covariance's eigenvalues (D,), descending, and eigenvectors (D, D)."""
    train = train.double()
    mean = train.mean(0)
    centred = train - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(train))
    return mean, values.flip(0), vectors.flip(1)
