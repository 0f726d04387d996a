"""Networks in whose feature space sets of images are compared.

Numbers from different networks cannot be compared, so the network's name and a digest of its
weights are part of every metric's name: `kid[fashion_mini-cnn64@1a2b3c]`.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.table import DataSet, PixelScale, some_rows
from dlrun.errors import UserError
from dlrun.evaluation.features import full_precision
from dlrun.evaluation.inference import batch_of
from dlrun.models.pretrained import Pretrained, load_whole
from dlrun.options import Choice
from dlrun.randomness import seed_everything
from dlrun.registry import lookup

_BATCH_LARGE = 32  # of 299 x 299
_MEASURED = 1000  # train images are enough for the features' scale
_SIDE = 299  # pixels that Inception sees
_AVERAGE = partial(F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False)
_MAXIMUM = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)


@dataclass(frozen=True)
class Extractor:
    """Features of images, and classes if it has learned them; always in float32.

    Attributes:
        name: data set, network, width, and the first digits of `sha256`.
        sha256: of its weights, or of the file that they came from.
        source: where they came from, for people.
        network: (B, C, H, W) to (B, D).
        head: (B, D) to logits (B, K), or None.
        scale: from bytes to what the network sees.
        device: where it computes.
        unit: features are divided by it: their root mean square over train images, since the
            kernel's cube depends on a scale that training leaves to chance. 1 for Inception.
        batch: images at a time.
    """

    name: str
    sha256: str
    source: str
    network: nn.Module
    head: nn.Module | None
    scale: PixelScale
    device: torch.device
    unit: float = 1.0
    batch: int = _BATCH_LARGE

    @full_precision()
    def features(self, images: Tensor) -> Tensor:
        """Of uint8 (N, C, H, W): float64 (N, D), on the CPU."""
        found = []
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            for part in images.split(self.batch):
                x = self.scale.from_bytes(part.to(self.device))
                found.append(self.network(x).double().cpu() / self.unit)
        return torch.cat(found)

    @full_precision()
    def classes(self, images: Tensor) -> Tensor:
        """The predicted classes of uint8 (N, C, H, W), int64 (N,). Needs a head."""
        assert self.head is not None
        features = self.features(images) * self.unit
        with torch.inference_mode():
            logits: Tensor = self.head(features.to(self.device, torch.float32))
        return logits.argmax(1).cpu()


def trained_extractor(
    trained: Pretrained, data: DataSet, device: torch.device, classes: str = ""
) -> Extractor:
    """The backbone of a supervised run, for images of `data`, and its classifier.

    `classes` goes into its name and says which classes they are, if not those of `data`.
    """
    backbone, head_state = trained.part("backbone"), trained.part("head")
    model, info = trained.model, trained.info
    assert model is not None and info is not None
    assert backbone is not None and head_state is not None
    num_classes = len(info.class_names)
    network: Any = lookup("model", model.name)(model.options, info.image_shape, num_classes)
    load_whole(network, backbone, trained.source)
    head = nn.Linear(network.feature_dim, num_classes)
    load_whole(head, head_state, trained.source)
    return _extractor(
        f"{classes}{model.name}{network.feature_dim}", digest_of(backbone), trained.source,
        network, head, torch.tensor(info.mean), torch.tensor(info.std), data, device,
    )  # fmt: skip


def random_extractor(model: Choice, data: DataSet, device: torch.device) -> Extractor:
    """The same network with random weights, the same whatever the run's seed is; no classes."""
    with torch.random.fork_rng(devices=[]):
        seed_everything(0, "random features")
        network: Any = lookup("model", model.name)(
            model.options, data.image_shape, data.num_classes
        )
    source = f"random weights ({model.name}): nothing was trained, so these are weaker"
    return _extractor(
        f"random{network.feature_dim}", digest_of(network.state_dict()), source,
        network, None, data.mean, data.std, data, device,
    )  # fmt: skip


def _extractor(
    name: str,
    digest: str,
    source: str,
    network: nn.Module,
    head: nn.Module | None,
    mean: Tensor,
    std: Tensor,
    data: DataSet,
    device: torch.device,
) -> Extractor:
    """With the unit of its features, measured on train images."""
    for module in (network, head):
        if module is not None:
            module.to(device).eval().requires_grad_(False)
    scale = PixelScale.of("standardized", mean, std).to(device)
    named = f"{data.name.replace(':', '.')}-{name}@{digest[:6]}"
    size = batch_of(*data.image_shape[1:])
    extractor = Extractor(named, digest, source, network, head, scale, device, batch=size)
    rows = some_rows(len(data.train), _MEASURED, "features")
    features = extractor.features(data.train.images.cpu()[rows])
    return replace(extractor, unit=float(features.square().mean().sqrt()) or 1.0)


def digest_of(state: dict[str, Tensor]) -> str:
    """sha256 of weights: names and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# --- Inception v3 from a file of the user: the network of published FIDs and KIDs ----------------


class Layout(NamedTuple):
    """Which Inception v3: its name in a metric, its name for people, and whether it is the FID's.

    The FID's network is TensorFlow's graph of 2015-12-05 (Heusel et al. 2017), in the layout of
    pytorch-fid and torch-fidelity. Its blocks pool in other ways than torchvision's: averages leave
    out the padding, and the last block takes the maximum. As in pytorch-fid, its images are not
    antialiased when they are made smaller; torchvision's are, and are not cropped.
    """

    name: str
    source: str
    of_fid: bool


_LAYOUTS = {  # by the outputs of the last layer, which is then left out
    1008: Layout("inception-2015", "the network of the FID, 2015-12-05", True),
    1000: Layout("inception-torchvision", "torchvision's inception_v3", False),
}


def inception_extractor(
    state: dict[str, Tensor], digest: str, key: str, device: torch.device
) -> Extractor:
    """The Inception v3 of a user's file, its features as they are.

    Args:
        state: the content of the file.
        digest: sha256 of the file.
        key: what the user gave, for messages.
        device: where it computes.

    Raises:
        UserError: it is another network.
    """
    network, layout = inception(state, key)
    unit = PixelScale(torch.zeros(1), torch.ones(1)).to(device)
    return Extractor(
        f"{layout.name}@{digest[:6]}", digest, f"{layout.source}, {key}",
        network.to(device).eval().requires_grad_(False), None, unit, device,
    )  # fmt: skip


class Inception(nn.Module):
    """Images (B, 1 or 3, H, W) in [0, 1] to the features after the last pooling (B, 2048)."""

    def __init__(self, network: nn.Module, antialias: bool) -> None:
        super().__init__()
        self.network, self.antialias = network, antialias

    def forward(self, x: Tensor) -> Tensor:
        """Images are resized to 299 x 299, bilinear; grey becomes RGB."""
        x = F.interpolate(x, (_SIDE, _SIDE), mode="bilinear", antialias=self.antialias)
        features: Tensor = self.network(2 * x.expand(-1, 3, -1, -1) - 1)
        return features


def inception(state: dict[str, Tensor], key: str) -> tuple[Inception, Layout]:
    """The network with the weights `state`, in one of the two layouts.

    Raises:
        UserError: it is another network; `key` is what the user gave.
    """

    def refused(why: str) -> UserError:
        return UserError(
            f"{key}: not an Inception v3{why}; expected the state dict of the FID's network "
            "(pt_inception-2015-12-05) or of torchvision's inception_v3"
        )

    last = state.get("fc.weight", torch.empty(0))
    layout = _LAYOUTS.get(len(last) if last.ndim else 0)
    if layout is None:
        raise refused(f" (its last layer fc has {len(last)} outputs)" if last.numel() else "")
    from torchvision.models import inception_v3  # 1.2 s, and hardly a run needs it

    with torch.device("meta"):  # only shapes; nothing is drawn
        network: Any = inception_v3(
            weights=None, num_classes=len(last), aux_logits=False, init_weights=False
        )
    own = network.state_dict()
    # The counts of batches do not matter here, and files from before 2018 lack them.
    given = {name: torch.tensor(0) for name in own if name.endswith("num_batches_tracked")}
    given |= {name: value for name, value in state.items() if not name.startswith("AuxLogits.")}
    for name in (*own, *given):
        if name not in own or name not in given or own[name].shape != given[name].shape:
            raise refused(f" (the tensor {name} is missing, unexpected or of another shape)")
    network.load_state_dict(given, assign=True)
    network.float().fc = nn.Identity()
    if layout.of_fid:
        for name, block in list(network.named_children()):
            if hasattr(block, "branch_pool"):
                setattr(network, name, _Pooled(block, _MAXIMUM if name == "Mixed_7c" else _AVERAGE))
    return Inception(network, antialias=not layout.of_fid), layout


class _Pooled(nn.Module):
    """A block whose last branch, the pooling one, uses another pooling."""

    def __init__(self, block: Any, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.block, self.pool = block, pool

    def forward(self, x: Tensor) -> Tensor:
        branch = self.block.branch_pool(self.pool(x))
        return torch.cat([self.block(x)[:, : -branch.shape[1]], branch], 1)
