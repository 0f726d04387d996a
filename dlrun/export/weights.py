"""Only the weights: safetensors of all that the capabilities need, and a plain state dict."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.export.graphs import filled, inference_state
from dlrun.use import TrainedModel

_PREFIX = "network."  # before torchvision's own names in `dlrun.models.torchvision_models`
_AUXILIARY = ("googlenet", "inception_v3")  # with auxiliary classifiers by default


def write_safetensors(model: TrainedModel, path: Path) -> None:
    """All tensors of `Method.inference`, under the names of the method's state."""
    from safetensors.torch import save_file

    names = {group: model.config[group]["name"] for group in ("method", "model")}
    save_file(inference_state(model.method), str(path), metadata={"format": "pt", **names})


@dataclass(frozen=True)
class Backbone:
    """A backbone's plain state dict, with the classifier if there is one.

    `network` is torchvision's, without these weights, and `code` the Python that builds it; None
    and () for a network that torchvision does not have.
    """

    state: dict[str, Tensor]
    network: nn.Module | None = None
    code: tuple[str, ...] = ()


def backbone(model: TrainedModel) -> Backbone | None:
    """The method's backbone; None if it has none, as an autoencoder."""
    parts, state = model.method.parts, inference_state(model.method)
    if "backbone" not in parts:
        return None
    own = _below(state, parts["backbone"])
    head = _below(state, parts["head"]) if "head" in parts else {}
    network = model.method.get_submodule(parts["backbone"].removesuffix("."))
    choice = model.config["model"]
    if choice["name"] != "torchvision":
        return Backbone(own | {f"head.{k}": v for k, v in head.items()})
    classes = len(head.get("bias", ()))
    built, last, code = _torchvision(network, choice["arch"], classes)
    state = _below(own, _PREFIX) | {f"{last}.{k}": v for k, v in head.items()}
    return Backbone(state, built, code)


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _torchvision(
    network: nn.Module, arch: str, classes: int
) -> tuple[nn.Module, str, tuple[str, ...]]:
    """Torchvision's network, the name of its last linear layer, and the lines that build it."""
    from torchvision import models

    plain = {"aux_logits": False, "init_weights": False} if arch in _AUXILIARY else {}
    options = plain | ({"num_classes": classes} if classes else {})
    with torch.random.fork_rng(devices=[]):
        built: nn.Module = models.get_model(arch, weights=None, **options)
    last = [name for name, m in built.named_modules() if isinstance(m, nn.Linear)][-1]
    given = "".join(f", {key}={value}" for key, value in options.items())
    lines = ["import torch, torchvision", f"m = torchvision.models.{arch}(weights=None{given})"]
    inner: Any = network.network
    if isinstance(getattr(inner, "maxpool", None), nn.Identity):  # the small stem
        shape = (inner.conv1.in_channels, inner.conv1.out_channels, 3, 1, 1)
        built.conv1, built.maxpool = nn.Conv2d(*shape, bias=False), nn.Identity()
        lines.append(f"m.conv1 = torch.nn.Conv2d{str(shape)[:-1]}, bias=False)")
        lines.append("m.maxpool = torch.nn.Identity()")
    if not classes:
        parent, _, name = last.rpartition(".")
        setattr(built.get_submodule(parent), name, nn.Identity())
        lines.append(f"m.{_indexed(last)} = torch.nn.Identity()")
    return built, last, tuple(lines)


def _indexed(path: str) -> str:
    """`classifier.1` in Python: `classifier[1]`."""
    first, *others = path.split(".")
    return first + "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in others)


def loaded_safetensors(model: TrainedModel, path: Path) -> Any:
    """The method with only the tensors of the file."""
    from safetensors.torch import load_file

    return filled(model.method, load_file(str(path)))


def original_backbone(model: TrainedModel) -> nn.Module:
    """The trained network and its head, to compare the backbone's file with."""
    parts = model.method.parts
    names = [parts[part].removesuffix(".") for part in ("backbone", "head") if part in parts]
    known = dict(model.method.named_modules())
    return nn.Sequential(*(known[name] for name in names if name in known)).eval()


def loaded_backbone(model: TrainedModel, found: Backbone, path: Path) -> nn.Module:
    """The network with the weights of the file: torchvision's, or else dlrun's own."""
    state = torch.load(path, weights_only=True)
    if found.network is not None:
        found.network.load_state_dict(state)
        return _GreyAsRGB(found.network).eval()
    layers = original_backbone(model)
    own = {f"0.{name}": tensor for name, tensor in state.items() if not name.startswith("head.")}
    own |= {f"1.{name}": tensor for name, tensor in _below(state, "head.").items()}
    return filled(layers, own)  # type: ignore[no-any-return]


class _GreyAsRGB(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.network(x.expand(-1, 3, -1, -1))
        return output
