"""Pictures of what lies between and around codes."""

import torch
from torch import Tensor

from dlrun.evaluation.inference import Inference
from dlrun.evaluation.mixture import Mixture
from dlrun.methods.abilities import Decodes

COMPONENTS = 10  # Ghosh et al. 2020, section 5
_FITTED = 1000  # codes are enough for a mixture, and quick
_PAIRS, _TRAVERSED = 5, 10


def interpolations(inference: Inference, method: Decodes, columns: int) -> list[Tensor]:
    """A row for each of five pairs of images: the decoded codes on the line between theirs."""
    codes = _codes(inference, method, 2 * _PAIRS)
    steps = torch.linspace(0, 1, columns, device=codes.device)[:, None]
    pairs = zip(codes[::2], codes[1::2], strict=False)
    return [method.decode(torch.lerp(one[None], other[None], steps)) for one, other in pairs]


def traversals(inference: Inference, method: Decodes, columns: int) -> list[Tensor]:
    """A row for each number of the code, one moved at a time, those that vary most first.

    From 3 standard deviations of the images' codes below the first image's to 3 above.
    """
    codes = _codes(inference, method, 250)
    spread = codes.std(0)
    moves = torch.linspace(-3, 3, columns, device=codes.device)
    rows = []
    for place in spread.argsort(descending=True)[:_TRAVERSED]:
        moved = codes[:1].repeat(columns, 1)
        moved[:, place] += moves * spread[place]
        rows.append(method.decode(moved))
    return rows


def from_mixture(inference: Inference, method: Decodes, n: int, seed: int) -> Tensor:
    """n images (n, C, H, W) of codes drawn from a mixture fitted to train images' codes."""
    return method.decode(codes_mixture(inference, method, seed).sample(n).to(inference.device))


def codes_mixture(inference: Inference, method: Decodes, seed: int) -> Mixture:
    """Fitted to the codes of the first train images."""
    train = inference.data.train
    rows = torch.arange(min(_FITTED, len(train)))
    codes = torch.cat(
        [method.embed(batch.image).float() for batch in inference.batches(train, rows)]
    )
    return Mixture.fitted(codes, COMPONENTS, seed)


def _codes(inference: Inference, method: Decodes, n: int) -> Tensor:
    """Of the first n val images, or test images without any: (n or fewer, D)."""
    table = inference.data.val if len(inference.data.val) else inference.data.test
    return method.embed(inference.images(table, torch.arange(min(n, len(table))))).float()
