"""Which verbs a method is good for, and what to say where it is not."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlrun.errors import UserError
from dlrun.methods.abilities import (
    Decodes,
    Embeds,
    Predicts,
    PredictsTasks,
    Reconstructs,
    Samples,
    Translates,
)
from dlrun.methods.base import Method
from dlrun.registry import lookup, names

if TYPE_CHECKING:
    from dlrun.use.model import TrainedModel


def _predicts(method: Method) -> bool:
    return isinstance(method, PredictsTasks) or (isinstance(method, Predicts) and method.classifies)


_NEEDS: dict[str, Callable[[Method], bool]] = {
    "predict": _predicts,
    "embed": lambda method: isinstance(method, Embeds),
    "reconstruct": lambda method: isinstance(method, Reconstructs),
    "sample": lambda method: isinstance(method, Samples),
    "interpolate": lambda method: isinstance(method, Decodes),
    "traverse": lambda method: isinstance(method, Decodes),
    "translate": lambda method: isinstance(method, Translates),
}
# What a class of methods has to define for it; `reconstruct` of a capsule network stands in its
# class as None, since not all of them have a decoder.
_DEFINES = {"interpolate": "decode", "traverse": "decode"}


def capabilities(method: Method) -> tuple[str, ...]:
    """What a trained method can do, by the names of the verbs."""
    return tuple(verb for verb, can in _NEEDS.items() if can(method))


def methods_that(verb: str) -> list[str]:
    """The methods of dlrun that have the capability, by name."""
    attribute = _DEFINES.get(verb, verb)
    return [name for name in names("method") if hasattr(lookup("method", name), attribute)]


def demand(model: "TrainedModel", verb: str) -> Any:
    """The model's method, once it is seen to have the capability.

    Raises:
        UserError: it has not; says what can do it.
    """
    if verb not in capabilities(model.method):
        told = ", ".join(model.capabilities) or "none of the verbs"
        raise UserError(
            f"{model}: cannot {verb}; it has {told}. Methods that can {verb}: "
            f"{', '.join(methods_that(verb))}"
        )
    return model.method
