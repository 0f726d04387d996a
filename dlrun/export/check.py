"""Whether an exported file does what the original does, on real images."""

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
    """uint8 (N, C, H, W); `warning` says why they are no real images, None of real ones."""

    table: Tensor
    warning: str | None

    @property
    def unit(self) -> Tensor:
        """float32 in [0, 1]."""
        return self.table.float() / 255


def test_images(model: TrainedModel, data_dir: str | None) -> Images:
    """The first images of the test split of the run's own data set, evenly spread over it."""
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
        told = (
            f"the run's data set cannot be opened ({' '.join(str(error).split())[:200]}), so this "
            "is checked on noise and NOT on real images; name the folder with --data-dir"
        )
        shape = (IMAGES, *model.image_shape)
        return Images(torch.randint(0, 256, shape, generator=noise, dtype=torch.uint8), told)
    rows = torch.linspace(0, len(table) - 1, min(IMAGES, len(table))).long()
    return Images(table[rows], None)


def difference(
    name: str,
    function: Callable[[Tensor], Tensor],
    given: Tensor,
    wanted: Tensor,
    unit: float = 1.0,
) -> float:
    """The largest between `function` of `given` in batches of 1 and of 7, and `wanted`, in `unit`.

    Raises:
        RunFailed: it is not within the tolerance, or has another shape.
    """
    largest = 0.0
    for size in BATCHES:
        with torch.no_grad():
            found = torch.cat([function(part) for part in given.split(size)]).float()
        if found.shape != wanted.shape:
            shapes = f"{tuple(found.shape)} and not {tuple(wanted.shape)}"
            raise RunFailed(f"{name}: gives {shapes} in batches of {size}; nothing was exported")
        gap = float((found - wanted).abs().max()) / unit
        if not gap <= TOLERANCE:  # not a number is no match either
            raise RunFailed(
                f"{name}: differs from the original by {gap:.3g} in batches of {size}, allowed is "
                f"{TOLERANCE:g}; nothing was exported"
            )
        largest = max(largest, gap)
    return largest
