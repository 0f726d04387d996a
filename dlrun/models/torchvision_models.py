"""Every classification network of torchvision, without its classifier.

Below the prefix `network.` the parameters have torchvision's own names, so its state dicts fit but
for the classifier, for auxiliary classifiers (GoogLeNet, Inception), and for a small stem's first
convolution. The small stem is that of He et al.'s networks as SimCLR changes it for CIFAR (Chen et
al. 2020, arXiv 2002.05709, appendix B.9): 3 x 3 with stride 1 and no pooling.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig
from dlrun.options import NonEmpty
from dlrun.text import suggest

SMALL = 64
"""Below that many pixels a side `stem: auto` is the small one."""
_AUXILIARY = ("googlenet", "inception_v3")


class TorchvisionModel(nn.Module):
    """Image (B, C, H, W) of 1 or 3 channels to features (B, feature_dim)."""

    kind = "encoder"
    channels_last = True

    @dataclass(frozen=True)
    class Config(EncoderConfig):
        arch: NonEmpty
        stem: Literal["auto", "small", "imagenet"]

    def __init__(self, config: Config, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, *sides = image_shape
        if channels not in (1, 3):
            raise UserError(
                f"model.arch={config.arch}: images have {channels} channels, expected 1 or 3"
            )
        self.network = _built(config.arch)
        self.feature_dim = _without_classifier(self.network, config.arch)
        has_stem = _has_imagenet_stem(self.network)
        if config.stem == "small" and not has_stem:
            raise UserError(
                f"model.stem: got small, but {config.arch} has no first convolution and pooling as "
                "a ResNet has; expected auto or imagenet"
            )
        if config.stem == "small" or (config.stem == "auto" and has_stem and min(sides) < SMALL):
            _shrink_stem(self.network)
        self._try(config.arch, image_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, feature_dim); grey images are seen three times."""
        return self.network(x.expand(-1, 3, -1, -1))

    @torch.no_grad()
    def _try(self, arch: str, image_shape: tuple[int, int, int]) -> None:
        """One image through it. Raises UserError."""
        try:
            shape = self.eval()(torch.zeros(1, *image_shape)).shape
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"model.arch={arch} does not take images of {image_shape[1]} x {image_shape[2]} "
                f"({reason}); set dataset.size, 224 for most, or take another model.arch"
            ) from error
        if shape != (1, self.feature_dim):
            raise UserError(
                f"model.arch={arch} gives {tuple(shape[1:])} without its last linear layer, which "
                f"took {self.feature_dim}; expected a network that ends in a linear layer"
            )
        self.train()


def _built(arch: str) -> nn.Module:
    from torchvision import models  # 1.2 s, and only these networks need it

    known = models.list_models(models)
    if arch not in known:
        near = suggest(arch, known, listed="resnet18 and efficientnet_b0 are two")
        raise UserError(
            f"model.arch: torchvision has no classification network {arch!r}{near} "
            f"(there are {len(known)}: torchvision.models.list_models(torchvision.models))"
        )
    # With auxiliary classifiers these two would return a tuple in training.
    plain = {"aux_logits": False, "init_weights": True} if arch in _AUXILIARY else {}
    network: nn.Module = models.get_model(arch, weights=None, **plain)
    return network


def _without_classifier(network: nn.Module, arch: str) -> int:
    """Removes the last linear layer and returns the width of its input."""
    linear = [name for name, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise UserError(
            f"model.arch={arch} ends in no linear layer whose input could be the feature; expected "
            "another, such as resnet18"
        )
    classifier = network.get_submodule(linear[-1])
    assert isinstance(classifier, nn.Linear)
    parent, _, name = linear[-1].rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    return classifier.in_features


def _has_imagenet_stem(network: nn.Module) -> bool:
    return isinstance(getattr(network, "conv1", None), nn.Conv2d) and isinstance(
        getattr(network, "maxpool", None), nn.MaxPool2d
    )


def _shrink_stem(network: nn.Module) -> None:
    wide = network.conv1
    assert isinstance(wide, nn.Conv2d)
    convolution = nn.Conv2d(wide.in_channels, wide.out_channels, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    network.conv1, network.maxpool = convolution, nn.Identity()
