"""Inception v3 from a file that the user has: the network that published FID and KID are of.

Two files are known, and told apart by the last layer, which is then left out:

- 1,008 outputs: the network of the FID, TensorFlow's graph of 2015-12-05 (Heusel et al. 2017), as
  pytorch-fid and torch-fidelity keep it. Its blocks pool otherwise than torchvision's: averages do
  not count the padding, and the last block takes the maximum instead.
- 1,000 outputs: torchvision's inception_v3; its auxiliary classifier is not used.

Images are brought to 299 x 299, bilinear, and to [-1, 1]. As pytorch-fid has it, the first
network's are not smoothed before they are made smaller; torchvision's are, and are not cropped: all
of an image counts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError

SIDE = 299  # pixels
_AUXILIARY = "AuxLogits."
_COUNTS = "num_batches_tracked"  # of no use in evaluation, and not in files of before 2018
_AVERAGE = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_MAXIMUM = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
_LAST_BLOCK = "Mixed_7c"


class Layout(NamedTuple):
    """One of the two networks: its name in a metric, and what it is for people."""

    name: str
    told: str
    of_fid: bool


_LAYOUTS = {
    1008: Layout("inception-2015", "the network of the FID, 2015-12-05", True),
    1000: Layout("inception-torchvision", "torchvision's inception_v3", False),
}


class Inception(nn.Module):
    """Images (B, 1 or 3, H, W) in [0, 1] to the features behind the last pooling (B, 2048)."""

    feature_dim = 2048

    def __init__(self, network: nn.Module, smooth: bool) -> None:
        """`smooth`: whether images are smoothed before they are made smaller."""
        super().__init__()
        self.network, self.smooth = network, smooth

    def forward(self, x: Tensor) -> Tensor:
        """Grey images are seen three times."""
        x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=self.smooth)
        features: Tensor = self.network(2 * x.expand(-1, 3, -1, -1) - 1)
        return features


def inception(state: dict[str, Tensor], key: str) -> tuple[Inception, Layout]:
    """The network that `state` is of, with its weights.

    Args:
        state: a state dict in one of the two layouts.
        key: what the user has given, for errors.

    Raises:
        UserError: it is of another network.
    """
    last = state.get("fc.weight", torch.empty(0))
    layout = _LAYOUTS.get(len(last) if last.ndim else 0)
    if layout is None:
        raise _refused(key, f"its last layer fc has {len(last)} outputs" if last.numel() else "")
    from torchvision.models import inception_v3  # 1.2 s, and hardly a run needs it

    with torch.device("meta"):  # shapes alone; nothing is drawn
        network: Any = inception_v3(
            weights=None, num_classes=len(last), aux_logits=False, init_weights=False
        )
    own = network.state_dict()
    given = {name: torch.tensor(0) for name in own if name.endswith(_COUNTS)}
    given |= {name: value for name, value in state.items() if not name.startswith(_AUXILIARY)}
    wrong = [
        name
        for name in (*own, *given)
        if name not in own or name not in given or own[name].shape != given[name].shape
    ]
    if wrong:
        raise _refused(key, f"the tensor {wrong[0]} is missing, left over or of another shape")
    network.load_state_dict(given, assign=True)
    network.float().fc = nn.Identity()
    if layout.of_fid:
        _pool_as_tensorflow(network)
    return Inception(network, smooth=not layout.of_fid), layout


def _refused(key: str, why: str) -> UserError:
    return UserError(
        f"{key}: is no Inception v3{f' ({why})' if why else ''}; expected the state dict of the "
        "FID's network (pt_inception-2015-12-05) or of torchvision's inception_v3"
    )


class _Pooled(nn.Module):
    """A block whose last branch, which pools, pools by another function."""

    def __init__(self, block: Any, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.block, self.pool = block, pool

    def forward(self, x: Tensor) -> Tensor:
        branch = self.block.branch_pool(self.pool(x))
        return torch.cat([self.block(x)[:, : -branch.shape[1]], branch], 1)


def _pool_as_tensorflow(network: nn.Module) -> None:
    for name, block in list(network.named_children()):
        if hasattr(block, "branch_pool"):
            pool = _MAXIMUM if name == _LAST_BLOCK else _AVERAGE
            setattr(network, name, _Pooled(block, pool))
