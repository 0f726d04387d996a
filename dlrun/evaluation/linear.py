"""What needs no network: principal components, their Gaussian, and pixels by themselves.

Each is fitted to train images (N, D) and judged on test images (M, D), in float64, by closed form.
"""

import math

import torch
from torch import Tensor


def pca_squared_error(train: Tensor, test: Tensor, size: int) -> float:
    """The squared error of an image given back by `size` principal components, mean over images."""
    mean, _, vectors = _spectrum(train)
    centred = test.double() - mean
    inside = centred @ vectors[:, :size]
    return float((centred.square().sum(1) - inside.square().sum(1)).mean())


def ppca_negative_log_density(train: Tensor, test: Tensor, size: int) -> float:
    """-log N(x; mean, W W^T + sigma^2 I), W and sigma of most likelihood, nats an image.

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
    """-log p(x) of pixels 0 or 1, each with a chance of its own; nats an image.

    Half a pixel of either kind is added to the count (Krichevsky and Trofimov 1981), so that no
    chance is 0.
    """
    chance = (train.double().sum(0) + 0.5) / (len(train) + 1)
    test = test.double()
    return -float((test * chance.log() + (1 - test) * (1 - chance).log()).sum(1).mean())


def _spectrum(train: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (D,), and the covariance's eigenvalues (D,), falling, with their vectors (D, D)."""
    train = train.double()
    mean = train.mean(0)
    centred = train - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(train))
    return mean, values.flip(0), vectors.flip(1)
