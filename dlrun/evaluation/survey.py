"""A method's look at train images before an epoch, and what came of it."""

import torch
from torch import Tensor

from dlrun.data.table import Table
from dlrun.evaluation.inference import Inference
from dlrun.methods.capabilities import Surveys

_SHOWN = 16  # numbers of the code that get a histogram


def survey(inference: Inference, method: Surveys) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Shows the method the images that it asks for, and lets it conclude.

    Returns:
        Its numbers; and values whose histograms are worth a look, those of the code that vary most.
    """
    table = inference.data.train
    rows = method.surveyed(table)
    with inference.evaluating():
        seen = inference.over(table, method.glance, rows)
    with torch.no_grad():
        numbers = method.survey(table, rows, seen)
    order = seen.var(0, correction=0).argsort(descending=True)[:_SHOWN]
    histograms = {f"code/{place:02d}": seen[:, place] for place in order.tolist()}
    return {name: float(value) for name, value in numbers.items()}, histograms


def extremes(weights: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows of the largest weights, and of the smallest above 0, int64, from the extreme on."""
    order = weights.argsort(descending=True, stable=True)
    order = order[: int((weights > 0).sum())]
    return order[:count], order.flip(0)[:count]


def weighed(table: Table, weights: Tensor, columns: int) -> tuple[list[Tensor], list[str]]:
    """Two rows each of the images drawn most and least often, in [0, 1], and their captions."""
    rows: list[Tensor] = []
    captions = []
    for chosen, name in zip(extremes(weights, 2 * columns), ("most", "least"), strict=True):
        images = table.images[chosen.to(table.images.device)].float().div(255)
        for part in images.split(columns):
            rows.append(part)
            captions.append(f"drawn {name}")
    return rows, captions
