"""What a network of the user's own gives, tried on two images before anything is trained."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.errors import CodeError, UserError
from dlrun.registry import one_line, own_line, place
from dlrun.text import given

_CODE = 3  # of an autoencoder's decoder, any
_NEEDS = {
    "encoder": ("feature_dim",),
    "autoencoder": ("encoder", "decoder", "hidden_dim"),
    "decoder": ("code_dim",),
}


def check_network(network: Any, image_shape: tuple[int, int, int]) -> None:
    """Calls the network as methods do; does nothing for dlrun's own.

    Its weights, statistics and torch's random numbers stay as they are; lazy layers get their
    shapes.

    Raises:
        CodeError: it lacks something, or gives something else than its kind says.
    """
    cls = type(network)
    if place(cls) is None:
        return
    kinds = (network.kind,) if isinstance(network.kind, str) else network.kind
    training = network.training
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        network.eval()
        for kind in kinds:
            _check(network, kind, torch.zeros(2, *image_shape))
        network.train(training)


def _check(network: Any, kind: str, images: Tensor) -> None:
    for name in _NEEDS.get(kind, ()):
        value = getattr(network, name, None)
        if value is None or (name.endswith("_dim") and type(value) is not int):
            found = "does not have it" if value is None else f"has {given(value)}"
            raise CodeError(
                f"a model of kind {kind} needs {name}"
                f"{', an integer' if name.endswith('_dim') else ''}; {type(network).__name__} "
                f"{found}: set self.{name} in __init__",
                type(network),
            )
    picture = tuple(images.shape)
    if kind == "encoder":
        _expect(network, network, "features", (2, network.feature_dim), images)
    elif kind == "autoencoder":
        _expect(network, network.encoder, "hidden features", (2, network.hidden_dim), images)
        decoder = network.decoder(_CODE).eval()
        _expect(network, decoder, "logits of images", picture, torch.zeros(2, _CODE))
    elif kind == "decoder":
        codes = torch.zeros(2, network.code_dim)
        _expect(network, network, "logits of images", picture, codes)
    elif kind == "generator":
        _expect(network, network, "images", picture, images)


def _expect(
    network: nn.Module,
    part: Callable[[Tensor], object],
    what: str,
    sides: tuple[int, ...],
    x: Tensor,
) -> None:
    """`part`, the network or one of its own, gives a tensor of these sides."""
    code = type(network)
    try:
        found = part(x)
    except UserError:
        raise
    except Exception as error:  # whatever torch raises where the layers do not fit
        if own_line(error):
            raise
        raise CodeError(f"with inputs {tuple(x.shape)}: {one_line(error)}", code) from error
    if not isinstance(found, Tensor) or tuple(found.shape) != sides:
        raise CodeError(
            f"{code.__name__} returned {given(found)} for inputs {tuple(x.shape)}, expected {what} "
            f"{sides}",
            part.forward if isinstance(part, code) else code,
        )
