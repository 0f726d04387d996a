"""Networks by whose features sets of images are held against each other, with a name that says so.

Figures under different networks do not compare, so name and weights are a part of every metric's
name: `kid[fashion_mini-cnn64@1a2b3c]`.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data.table import DataSet, PixelScale
from dlrun.evaluation.features import full_precision
from dlrun.evaluation.inception import inception
from dlrun.models.pretrained import Pretrained, load_whole
from dlrun.options import Choice
from dlrun.randomness import permutation, seed_everything
from dlrun.registry import lookup

_BATCH = 250
_BATCH_LARGE = 32  # of 299 x 299
_MEASURED = 1000  # train images are enough for the features' scale


@dataclass(frozen=True)
class Extractor:
    """Features of images, and classes where it has learnt them; always in float32.

    Attributes:
        name: data set, network, width, and the first digits of `sha256`.
        sha256: of its weights, or of the file that they came from.
        source: where they came from, for people.
        network: (B, C, H, W) to (B, D).
        head: (B, D) to logits (B, K), or None.
        scale: from bytes to what the network sees.
        device: where it computes.
        unit: what features are divided by: their root mean square over train images, without which
            the kernel's cube would hang on a scale that training has left to chance. A network that
            others use too is left as it is.
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
    batch: int = _BATCH

    @full_precision
    def features(self, images: Tensor) -> Tensor:
        """Of uint8 (N, C, H, W): float64 (N, D), on the CPU."""
        found = []
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            for part in images.split(self.batch):
                x = self.scale.from_bytes(part.to(self.device))
                found.append(self.network(x).double().cpu() / self.unit)
        return torch.cat(found)

    @full_precision
    def classes(self, images: Tensor) -> Tensor:
        """What uint8 (N, C, H, W) are taken for, int64 (N,). Only where there is a head."""
        assert self.head is not None
        features = self.features(images) * self.unit
        with torch.inference_mode():
            logits: Tensor = self.head(features.to(self.device, torch.float32))
        return logits.argmax(1).cpu()


def trained_extractor(
    trained: Pretrained, data: DataSet, device: torch.device, classes: str = ""
) -> Extractor:
    """The encoder of a supervised run on images of `data`, and the classifier that stands on it.

    `classes` tells in its name which they are, where they are not those of `data`.
    """
    backbone, head_state = trained.part("backbone"), trained.part("head")
    model, info = trained.model, trained.info
    assert model is not None and info is not None
    assert backbone is not None and head_state is not None
    num_classes = len(info.class_names)
    network: Any = lookup("model", model.name)(model.options, info.image_shape, num_classes)
    load_whole(network, backbone, trained.source)
    width: int = network.feature_dim
    head = nn.Linear(width, num_classes)
    load_whole(head, head_state, trained.source)
    digest = digest_of(backbone)
    scale = PixelScale.of("standardized", torch.tensor(info.mean), torch.tensor(info.std))
    extractor = Extractor(
        _named(data, f"{classes}{model.name}{width}", digest), digest, trained.source,
        _still(network, device), _still(head, device), scale.to(device), device,
    )  # fmt: skip
    return _in_units(extractor, data)


def inception_extractor(
    state: dict[str, Tensor], digest: str, key: str, device: torch.device
) -> Extractor:
    """An Inception v3 that the user has, its features as they are.

    Args:
        state: what its file holds.
        digest: sha256 of the file.
        key: what the user has given.
        device: where it computes.

    Raises:
        UserError: it is of another network.
    """
    network, layout = inception(state, key)
    unit = PixelScale(torch.zeros(1), torch.ones(1)).to(device)
    return Extractor(
        f"{layout.name}@{digest[:6]}", digest, f"{layout.told}, {key}", _still(network, device),
        None, unit, device, batch=_BATCH_LARGE,
    )  # fmt: skip


def random_extractor(model: Choice, data: DataSet, device: torch.device) -> Extractor:
    """The same network with weights that have learnt nothing: a weaker judge, without labels."""
    with torch.random.fork_rng(devices=[]):
        seed_everything(0, "random features")  # the same judge whatever the run's seed is
        network: Any = lookup("model", model.name)(
            model.options, data.image_shape, data.num_classes
        )
    digest = digest_of(network.state_dict())
    scale = PixelScale.of("standardized", data.mean, data.std)
    extractor = Extractor(
        _named(data, f"random{network.feature_dim}", digest), digest,
        f"random weights ({model.name}): nothing was trained, so these are weaker",
        _still(network, device), None, scale.to(device), device,
    )  # fmt: skip
    return _in_units(extractor, data)


def _in_units(extractor: Extractor, data: DataSet) -> Extractor:
    rows = permutation(len(data.train), 0, "features")[:_MEASURED]  # the first may be of one class
    features = extractor.features(data.train.images.cpu()[rows])
    return replace(extractor, unit=float(features.square().mean().sqrt()) or 1.0)


def digest_of(state: dict[str, Tensor]) -> str:
    """sha256 of weights: names and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _named(data: DataSet, network: str, digest: str) -> str:
    return f"{data.name.replace(':', '.')}-{network}@{digest[:6]}"


def _still(network: Any, device: torch.device) -> nn.Module:
    still: nn.Module = network.to(device).eval().requires_grad_(False)
    return still
