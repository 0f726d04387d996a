"""Comparing an exported file with the original, on real images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dlrun.config.typed import Typed
from dlrun.data.open import open_dataset
from dlrun.errors import RunFailed, UserError
from dlrun.use import TrainedModel

IMAGES = 100
TOLERANCE = 1e-4
BATCHES = (1, 7)


@dataclass(frozen=True)
class Images:
    """uint8 (N, C, H, W); `warning` says why they are noise, None if they are real images."""

    table: Tensor
    warning: str | None

    @property
    def unit(self) -> Tensor:
        """float32 in [0, 1]."""
        return self.table.float() / 255


def test_images(model: TrainedModel, data_dir: str | None) -> Images:
    """Images of the test split of the run's own data set, evenly spread over it; else noise."""
    try:
        typed = Typed(own_code=not model.is_file)
        choice: Any = typed.choice("dataset", model.config["dataset"], "dataset")
        if typed.problems:
            raise UserError(typed.problems[0])
        table = open_dataset(choice, data_dir or model.config.get("data_dir")).test.images
        if tuple(table.shape[1:]) != model.image_shape:
            raise UserError(f"its images are now {tuple(table.shape[1:])}")
    except UserError as error:
        noise = torch.Generator().manual_seed(0)
        warning = (
            f"the run's data set cannot be opened ({' '.join(str(error).split())[:200]}), so the "
            "files are checked on noise and NOT on real images; give its folder by --data-dir"
        )
        shape = (IMAGES, *model.image_shape)
        return Images(torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8), warning)
    rows = torch.linspace(0, len(table) - 1, min(IMAGES, len(table))).long()
    return Images(table[rows], None)


def difference(
    name: str,
    function: Callable[[Tensor], Tensor],
    inputs: Tensor,
    expected: Tensor,
    unit: float = 1.0,
) -> float:
    """The largest difference between `function` of `inputs` and `expected`, in `unit`.

    In batches of 1 and of 7.

    Raises:
        RunFailed: it is not within the tolerance, or the shapes differ.
    """
    largest = 0.0
    for size in BATCHES:
        with torch.no_grad():
            found = torch.cat([function(part) for part in inputs.split(size)]).float()
        if found.shape != expected.shape:
            shapes = f"{tuple(found.shape)}, expected {tuple(expected.shape)}"
            raise RunFailed(f"{name}: got {shapes} in batches of {size}; nothing was exported")
        gap = float((found - expected).abs().max()) / unit
        if not gap <= TOLERANCE:  # NaN is not within it either
            raise RunFailed(
                f"{name}: differs from the original by {gap:.3g} in batches of {size}, expected "
                f"{TOLERANCE:g} or less; nothing was exported"
            )
        largest = max(largest, gap)
    return largest
