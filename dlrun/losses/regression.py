"""Numbers against numbers (the lecture notes' 4.5 to 4.7), and logits against one-hot labels.

Either outputs (B,) against numbers (B,), or outputs (B, K) against class labels, int64 (B,), whose
one-hot rows are the numbers then, averaged over classes: one loss an image, (B,), float32. Training
on those goes about as well as cross-entropy (Hui and Belkin 2021, arXiv 2006.07322).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dlrun.losses.base import loss
from dlrun.options import Positive


@loss("logits", "values")
def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """`(x - y)^2`."""
    return _of_each(F.mse_loss(*_pair(output, target), reduction="none"))


@loss("logits", "values")
def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """`|x - y|`."""
    return _of_each(F.l1_loss(*_pair(output, target), reduction="none"))


@loss("logits", "values")
def huber(output: Tensor, target: Tensor, *, delta: Positive) -> Tensor:
    """`e^2 / 2` up to |e| = delta, `delta (|e| - delta / 2)` beyond (Huber 1964), e = x - y.

    delta has the unit of the target.
    """
    return _of_each(F.huber_loss(*_pair(output, target), reduction="none", delta=delta))


def _of_each(terms: Tensor) -> Tensor:
    return terms if terms.ndim == 1 else terms.mean(1)


def _pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the output's shape, float32.

    Raises:
        TypeError: the target is neither of a float type nor int64.
        ValueError: the shapes do not fit. Broadcasting (B, 1) against (B,) would compare each with
            each.
    """
    labels = target.dtype == torch.int64
    if not (labels or target.is_floating_point()):
        raise TypeError(f"got targets of type {target.dtype}, expected a float type or int64")
    expected = "(B, K) and int64 (B,)" if labels else "(B,) and (B,)"
    if output.ndim != 1 + labels or target.shape != output.shape[:1]:
        raise ValueError(
            f"got output {tuple(output.shape)} and {target.dtype} target {tuple(target.shape)}, "
            f"expected {expected}"
        )
    wanted = F.one_hot(target, output.shape[1]) if labels else target
    return output.float(), wanted.float()
