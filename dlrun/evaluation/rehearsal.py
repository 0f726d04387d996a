"""What a method of the user's own gives, tried on two images before anything is trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dlrun.errors import CodeError
from dlrun.evaluation.evaluate import validated
from dlrun.evaluation.inference import DIRECTIONS, Inference
from dlrun.methods.abilities import (
    Decodes,
    Embeds,
    HasPosterior,
    HasProjection,
    Predicts,
    Reconstructs,
    Samples,
    Translates,
)
from dlrun.methods.hooks import Validates
from dlrun.registry import place
from dlrun.text import given

_MEASURED: dict[type, tuple[str, ...]] = {
    Predicts: ("accuracy",),
    Embeds: ("knn", "linear_probe", "recall_at_1", "recall_at_5", "mean_average_precision"),
    HasProjection: ("projection_std", "projection_rank"),
    HasPosterior: ("active_units",),
    Reconstructs: ("reconstruction_error", "squared_error"),
    Translates: ("target_share", "cycle_error"),
}
"""What evaluation may measure of each ability, some of it at the end of a run only."""
Sides = tuple[int | str, ...]


def rehearse(inference: Inference) -> None:
    """Calls whatever evaluation will call; does nothing for dlrun's own methods.

    Raises:
        CodeError: an ability gives something else than `methods.abilities` says.
    """
    if place(type(inference.method)) is None:
        return
    method, table = inference.method, inference.data.train
    rows = torch.arange(min(2, len(table)))
    count = len(rows)
    picture = (count, *inference.data.image_shape)
    with inference.evaluating():
        x = inference.images(table, rows)
        if isinstance(method, Validates):
            own = validated(inference, method, table, rows)
            taken = [name for kind, names in _MEASURED.items() if isinstance(method, kind)
                     for name in names if name in own]  # fmt: skip
            if taken:
                raise CodeError(
                    f"validate() returned {taken[0]!r}, which dlrun measures itself; give yours "
                    "another name",
                    method.validate,
                )
        if isinstance(method, Predicts) and method.classifies:
            sides = (count, inference.data.num_classes)
            _expect(method.predict, "logits", sides, x)
            _expect(method.probabilities, "probabilities", sides, method.predict(x))
        if isinstance(method, Embeds):
            _expect(method.embed, "features", (count, "D"), x)
        if isinstance(method, HasProjection):
            _expect(method.project, "projections", (count, "D"), x)
        if isinstance(method, HasPosterior):
            _expect_pair(method.posterior, x)
        if isinstance(method, Reconstructs):
            _expect(method.reconstruct, "images in [0, 1]", picture, x)
        if isinstance(method, Decodes):
            codes = torch.zeros(count, method.code_dim, device=inference.device)
            _expect(method.embed, "codes", (count, method.code_dim), x)
            _expect(method.decode, "images in [0, 1]", picture, codes)
        if isinstance(method, Samples):
            _expect(method.sample, "images in [0, 1]", picture, count)
        if isinstance(method, Translates):
            for direction in DIRECTIONS:
                _expect(method.translate, "images in [0, 1]", picture, x, direction)


def _expect(function: Callable[..., object], what: str, sides: Sides, *arguments: Any) -> None:
    """Of these arguments it gives a tensor of these sides; a text stands for any number."""
    found = function(*arguments)
    fits = isinstance(found, Tensor) and found.ndim == len(sides)
    if not fits or not all(
        isinstance(side, str) or side == is_
        for side, is_ in zip(sides, getattr(found, "shape", ()), strict=True)
    ):
        expected = ", ".join(map(str, sides))
        raise CodeError(
            f"{function.__name__}() returned {given(found)}, expected {what} ({expected})", function
        )


def _expect_pair(function: Callable[[Tensor], object], x: Tensor) -> None:
    found = function(x)
    fits = isinstance(found, tuple) and len(found) == 2 and all(
        isinstance(one, Tensor) and one.ndim == 2 for one in found
    )  # fmt: skip
    if not fits:
        raise CodeError(
            f"posterior() returned {given(found)}, expected mean and log-variance, each "
            f"({len(x)}, D)",
            function,
        )
