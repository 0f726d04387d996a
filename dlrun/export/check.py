"""Comparing an exported file with the original, on real images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dlrun.errors import RunFailed, UserError
from dlrun.use import TrainedModel
from dlrun.use.data import open_data

IMAGES = 100
TOLERANCE = 1e-4
BATCHES = (1, 7)


@dataclass(frozen=True)
class Images:
    """uint8 (N, C, H, W); `warning` says why they are noise, None if they are real."""

    table: Tensor
    warning: str | None

    @property
    def unit(self) -> Tensor:
        """float32 in [0, 1]."""
        return self.table.float() / 255


def test_images(model: TrainedModel, data_dir: str | None) -> Images:
    """Images of the run's test split, evenly spread over it; noise if it cannot be opened."""
    try:
        table = open_data(model, data_dir=data_dir)[0].test.images
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
    """The largest difference, in `unit`, of `function(inputs)` from `expected`.

    In batches of 1 and of 7.

    Raises:
        RunFailed: it is above the tolerance, or the shapes differ.
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
