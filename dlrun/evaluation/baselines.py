"""Baselines that need no training, from the train split: each takes raw pixels in [0, 1]."""

import math
from collections.abc import Collection

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

_OF_PIXELS = {"knn", "linear_probe", "recall_at_1", "mean_average_precision"}
_MOST_VALUES = 2**28  # of pixels as floats, 1 GB; neighbours and a linear layer take it three times
_MOST_COMPONENTS = 4096  # a minute of a core
_CHUNK = 1000


def trivial(
    data: DataSet,
    split: str,
    numbers: Collection[str],
    code_dim: int = 0,
    decoded: tuple[Tensor, Tensor] | None = None,
) -> dict[str, float]:
    """For each of `numbers` that has one, the baseline without training on `split`.

    Args:
        data: with the images.
        split: which is judged.
        numbers: names of metrics.
        code_dim: of a method that has codes, so that a baseline may have as many dimensions.
        decoded: the rows of train and of the split that its decoder learns; None: all.
    """
    table: Table = getattr(data, split)
    found: dict[str, float] = {}
    if data.train.labels is not None and table.labels is not None:
        labels, wanted = data.train.labels.cpu(), table.labels.cpu()
        if "accuracy" in numbers:
            found["accuracy"] = share_equal(labels.mode().values, wanted)
        if _OF_PIXELS & set(numbers) and not too_large(data, numbers, code_dim):
            found |= _of_pixels(raw(data.train), labels, raw(table), wanted, numbers)
    rows, own = decoded or (None, None)
    if "reconstruction_error" in numbers:
        found["reconstruction_error"] = _mean_image_error(data.train, rows, table, own)
    pixels = data.train.images[0].numel()
    if code_dim and code_dim < pixels and not too_large(data, numbers, code_dim):
        found |= _of_codes(raw(data.train, rows), raw(table, own), numbers, code_dim)
    for name, column in data.train.attributes.items():
        found |= _of_column(name, column.cpu(), table.attributes[name].cpu(), numbers)
    if "target_share" in numbers:
        domains = DomainNeighbours(data)
        a, b = (raw(table, rows) for rows in domain_rows(data, split))
        share = min(domains.share(a, 1), domains.share(b, 0))
        found |= {"target_share": share, "cycle_error": 0.0}
    return found


def too_large(data: DataSet, numbers: Collection[str], code_dim: int) -> str | None:
    """Why baselines of raw pixels are left out: they would cost more than the training.

    Principal components take a matrix of the images or of the pixels, whichever are fewer.
    """
    n, dim = len(data.train), data.train.images[0].numel()
    what = None
    if _OF_PIXELS & set(numbers) and n * dim > _MOST_VALUES:
        what = "neighbours and linear layers of raw pixels"
    elif code_dim and (min(n, dim) > _MOST_COMPONENTS or n * dim > _MOST_VALUES):
        what = "principal components"
    return what and f"no baseline by {what}: {n:,} train images of {dim:,} values are too many"


def _of_pixels(
    train: Tensor, labels: Tensor, test: Tensor, wanted: Tensor, numbers: Collection[str]
) -> dict[str, float]:
    found = {}
    if "knn" in numbers:
        found["knn"] = share_equal(knn_predict(train, labels, test), wanted)
    if "linear_probe" in numbers:
        found["linear_probe"] = share_equal(linear_probe(train, labels, test), wanted)
    if "recall_at_1" in numbers:
        found |= recalls(test, wanted)
    if "mean_average_precision" in numbers:
        found["mean_average_precision"] = mean_average_precision(test, wanted)
    return found


def _mean_image_error(train: Table, rows: Tensor | None, table: Table, own: Tensor | None) -> float:
    """The mean squared error of the mean train image, some images at a time: all take memory."""
    sums = [raw(train, part).double().sum(0) for part in _parts(train, rows)]
    mean = torch.stack(sums).sum(0) / (len(train) if rows is None else len(rows))
    errors = [(raw(table, part) - mean).square().mean(1) for part in _parts(table, own)]
    return float(torch.cat(errors).mean())


def _parts(table: Table, rows: Tensor | None) -> tuple[Tensor, ...]:
    every = torch.arange(len(table)) if rows is None else rows
    parts: tuple[Tensor, ...] = every.split(_CHUNK)
    return parts


def _of_codes(
    train: Tensor, test: Tensor, numbers: Collection[str], code_dim: int
) -> dict[str, float]:
    found: dict[str, float] = {}
    if not len(train) or not len(test):
        return found
    if "squared_error" in numbers:
        found["squared_error"] = pca_squared_error(train, test, code_dim)
    if "negative_log_density" in numbers and code_dim < len(train):
        found["negative_log_density"] = ppca_negative_log_density(train, test, code_dim)
    if "negative_log_likelihood" in numbers:
        value = independent_negative_log_likelihood(*(binarize(x) for x in (train, test)))
        bits = value / (train.shape[1] * math.log(2))
        found |= {"negative_log_likelihood": value, "bits_per_dimension": bits}
    return found


def _of_column(
    name: str, train: Tensor, wanted: Tensor, numbers: Collection[str]
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
        return share_equal(knn_predict(self.bank, self.labels, images), torch.tensor(target))


def raw(table: Table, rows: Tensor | None = None) -> Tensor:
    """Pixels (N, D) in [0, 1] on the CPU, of the whole table or of some rows."""
    images = table.images.cpu()
    return (images if rows is None else images[rows]).flatten(1).float().div_(255)


def pca_squared_error(train: Tensor, test: Tensor, size: int) -> float:
    """The mean squared error of an image reconstructed from `size` principal components."""
    mean, _, vectors, _ = _spectrum(train, size)
    outside = [_across(part, mean, vectors)[1] for part in test.split(_CHUNK)]
    return float(torch.cat(outside).mean())


def ppca_negative_log_density(train: Tensor, test: Tensor, size: int) -> float:
    """-log N(x; mean, W W^T + sigma^2 I) with the most likely W and sigma, in nats an image.

    Probabilistic PCA (Tipping and Bishop 1999, equations 4, 7 and 8); `size` is below D.
    """
    mean, values, vectors, total = _spectrum(train, size)
    dim = len(mean)
    noise = ((total - values.sum()) / (dim - size)).clamp(min=1e-12)
    kept = values.clamp(min=1e-12)
    across = [_across(part, mean, vectors) for part in test.split(_CHUNK)]
    distances = [(inside / kept).sum(1) + outside / noise for inside, outside in across]
    log_determinant = kept.log().sum() + (dim - size) * noise.log()
    distance = torch.cat(distances).mean()
    return float(0.5 * (distance + log_determinant + dim * math.log(2 * math.pi)))


def _across(images: Tensor, mean: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The squares along each vector (N, K), and what is left of the squared distance (N,)."""
    centred = images.double() - mean
    inside = (centred @ vectors).square()
    return inside, centred.square().sum(1) - inside.sum(1)


def independent_negative_log_likelihood(train: Tensor, test: Tensor) -> float:
    """-log p(x) of independent pixels, 0 or 1, in nats an image.

    Half a pixel of either kind is added to the counts (Krichevsky and Trofimov 1981), so that no
    probability is 0.
    """
    chance = (train.double().sum(0) + 0.5) / (len(train) + 1)
    test = test.double()
    return -float((test * chance.log() + (1 - test) * (1 - chance).log()).sum(1).mean())


def _spectrum(train: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean (D,), the `size` largest eigenvalues of the covariance, their vectors, and its trace.

    Of fewer images than pixels through the images' inner products, N x N: the same eigenvalues.
    """
    n, dim = train.shape
    mean = torch.stack([part.double().sum(0) for part in train.split(_CHUNK)]).sum(0) / n
    small = torch.zeros(min(n, dim), min(n, dim), dtype=torch.float64)
    if n < dim:
        for pixels in torch.arange(dim).split(_CHUNK):
            part = train[:, pixels].double() - mean[pixels]
            small += part @ part.T
    else:
        for part in train.split(_CHUNK):
            centred = part.double() - mean
            small += centred.T @ centred
    values, vectors = torch.linalg.eigh(small / n)
    values, vectors = values.flip(0)[:size], vectors.flip(1)[:, :size]
    if n < dim:
        rows = zip(train.split(_CHUNK), vectors.split(_CHUNK), strict=True)
        vectors = sum((part.double() - mean).T @ own for part, own in rows)
        vectors = vectors / (n * values).clamp(min=1e-12).sqrt()
    return mean, values, vectors, small.trace() / n
