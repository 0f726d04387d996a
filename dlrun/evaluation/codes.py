"""How many dimensions of a code are used, and how likely images are under the model."""

import math

import torch
from torch import Tensor

from dlrun.data.table import Table
from dlrun.evaluation.features import full_precision
from dlrun.evaluation.inference import Inference
from dlrun.losses.reconstruction import gaussian_kl_of_each
from dlrun.methods.abilities import HasLikelihood, HasPosterior

ACTIVE = 1e-2  # Burda et al. 2016, arXiv 1509.00519, section 5.2: variance of the posterior's mean
_CHUNK = 10  # draws at once of a batch of images


def code_numbers(
    inference: Inference, method: HasPosterior, table: Table, full: bool
) -> dict[str, float]:
    """`active_units`: the dimensions that depend on the image; if `full`, `kl/00`, `kl/01`, ..."""
    means, parts = [], []
    for batch in inference.batches(table):
        mu, logvar = method.posterior(batch.image)
        means.append(mu.double())
        parts.append(gaussian_kl_of_each(mu, logvar).double())
    numbers = {"active_units": float((torch.cat(means).var(0) > ACTIVE).sum())}
    if full:
        each = torch.cat(parts).mean(0).tolist()
        numbers |= {f"kl/{dim:02d}": value for dim, value in enumerate(each)}
    return numbers


@full_precision()
def likelihood(inference: Inference, method: HasLikelihood, table: Table) -> dict[str, float]:
    """-log p(x) by importance-weighted draws (Burda et al. 2016, equation 8), nats an image.

    An upper bound on average, tighter with more draws. Of binary pixels also in bits a pixel.
    """
    found = torch.cat([_log_likelihood(method, batch.image) for batch in inference.batches(table)])
    name, value = method.likelihood_metric, -float(found.mean())
    numbers = {name: value}
    if name == "negative_log_likelihood":
        pixels = table.images[0].numel()
        numbers["bits_per_dimension"] = value / (pixels * math.log(2))
    return numbers


def _log_likelihood(method: HasLikelihood, image: Tensor) -> Tensor:
    """log mean exp of the weights, (B,), a few draws at a time: all would not fit in memory."""
    total = image.new_full((len(image),), -math.inf, dtype=torch.float64)
    for left in range(method.likelihood_draws, 0, -_CHUNK):
        weights = method.log_weights(image, min(left, _CHUNK))
        total = torch.logaddexp(total, weights.logsumexp(0))
    return total - math.log(method.likelihood_draws)
