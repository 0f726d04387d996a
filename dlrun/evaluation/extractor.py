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
from dlrun.methods.trained import Trained, load_whole
from dlrun.models.build import build_model
from dlrun.options import Choice
from dlrun.randomness import seed_everything

_BATCH = 250
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
            the kernel's cube would hang on a scale that training has left to chance.
    """

    name: str
    sha256: str
    source: str
    network: nn.Module
    head: nn.Module | None
    scale: PixelScale
    device: torch.device
    unit: float = 1.0

    @full_precision
    def features(self, images: Tensor) -> Tensor:
        """Of uint8 (N, C, H, W): float64 (N, D), on the CPU."""
        found = []
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            for part in images.split(_BATCH):
                x = self.scale.from_bytes(part.to(self.device))
                found.append(self.network(x).double().cpu() / self.unit)
        return torch.cat(found)

    @full_precision
    def classes(self, features: Tensor) -> Tensor | None:
        """What images with those features are taken for, int64 (N,); None where it cannot tell."""
        if self.head is None:
            return None
        with torch.inference_mode():
            logits: Tensor = self.head((features * self.unit).to(self.device, torch.float32))
        return logits.argmax(1).cpu()


def trained_extractor(trained: Trained, data: DataSet, device: torch.device) -> Extractor:
    """The encoder of a supervised run on `data`, and the classifier that stands on it."""
    backbone, head_state = trained.part("backbone"), trained.part("head")
    assert trained.model is not None and backbone is not None and head_state is not None
    network: Any = build_model(trained.model, data.image_shape, data.num_classes)
    load_whole(network, backbone, trained.source)
    width: int = network.feature_dim
    head = nn.Linear(width, data.num_classes)
    load_whole(head, head_state, trained.source)
    digest = digest_of(backbone)
    extractor = Extractor(
        _named(data, f"{trained.model.name}{width}", digest), digest, trained.source,
        _still(network, device), _still(head, device), _standardized(data, device), device,
    )  # fmt: skip
    return _in_units(extractor, data)


def random_extractor(model: Choice, data: DataSet, device: torch.device) -> Extractor:
    """The same network with weights that have learnt nothing: a weaker judge, without labels."""
    with torch.random.fork_rng(devices=[]):
        seed_everything(0, "random features")  # the same judge whatever the run's seed is
        network: Any = build_model(model, data.image_shape, data.num_classes)
    digest = digest_of(network.state_dict())
    extractor = Extractor(
        _named(data, f"random{network.feature_dim}", digest), digest,
        f"random weights ({model.name}): nothing was trained, so these are weaker",
        _still(network, device), None, _standardized(data, device), device,
    )  # fmt: skip
    return _in_units(extractor, data)


def _in_units(extractor: Extractor, data: DataSet) -> Extractor:
    features = extractor.features(data.train.images[:_MEASURED])
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


def _standardized(data: DataSet, device: torch.device) -> PixelScale:
    return PixelScale.of("standardized", data.mean, data.std).to(device)
