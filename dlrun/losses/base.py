"""What makes a function a loss that the config can choose."""

from collections.abc import Callable
from dataclasses import make_dataclass
from functools import partial, update_wrapper
from inspect import Parameter, signature
from typing import Any, TypeVar, get_type_hints

from dlrun.errors import CodeError
from dlrun.registry import CALLS, place
from dlrun.text import given

Function = TypeVar("Function", bound=Callable[..., Any])


def loss(
    *kinds: str,
    base: type | None = None,
    check: Callable[[Any], None] | None = None,
    **attributes: Any,
) -> Callable[[Function], Function]:
    """Makes a function a loss.

    Its keyword-only parameters are its options, their annotations the types that the config
    checks; the values come from the loss's YAML file.

        @loss("logits")
        def focal(logits: Tensor, labels: Tensor, *, gamma: NonNegative) -> Tensor:

    Args:
        kinds: what it takes; `Method.loss_kind` has to be one of them.
        base: a frozen dataclass of further options, which the method reads and the function is
            not given.
        check: raises ValueError for options that do not go together.
        attributes: set on the function, for a method to read.
    """

    def decorated(function: Function) -> Function:
        hints = get_type_hints(function, include_extras=True)
        parameters = signature(function).parameters.values()
        own = [p.name for p in parameters if p.kind is Parameter.KEYWORD_ONLY]
        for name in own:
            if name not in hints:
                raise TypeError(f"option {name} has no type; write one, as {name}: NonNegative")
        defaults = [p.name for p in parameters if p.name not in own and p.default is not p.empty]
        namespace: dict[str, Any] = {} if check is None else {"__post_init__": check}
        namespace["no_options"] = defaults  # which the line about an unknown key explains
        config = make_dataclass(
            "Config", [(name, hints[name]) for name in own],
            bases=() if base is None else (base,), namespace=namespace, frozen=True,
        )  # fmt: skip
        vars(function).update(
            kind=kinds[0] if len(kinds) == 1 else kinds, Config=config, options=own, **attributes
        )
        return function

    return decorated


def bind(formula: Any, options: Any) -> Any:
    """A loss with its options: the function as the method calls it, or an instance of the class.

    Args:
        formula: a function made by `loss`, or a class with `kind`, `Config` and
            `__init__(self, config)`: an nn.Module, where the loss has something to learn.
        options: of its `Config`; they become the attribute `config`.
    """
    own = place(formula) is not None
    if isinstance(formula, type):
        built: Any = formula(options)
        if own:
            built.register_forward_hook(
                lambda _, x, found: _check_losses(type(built).forward, built.kind, x, found)
            )
        return built
    bound: Any = partial(formula, **{name: getattr(options, name) for name in formula.options})
    if own:
        bound = _checked(bound, formula)
    update_wrapper(bound, formula)
    bound.config = options
    return bound


def _checked(bound: Callable[..., Any], formula: Any) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        found = bound(*arguments, **named)
        _check_losses(formula, formula.kind, arguments, found)
        return found

    return called


def _check_losses(code: Any, kind: Any, arguments: tuple[Any, ...], found: Any) -> None:
    """What a loss of the user's own gives is what its kind says. Raises CodeError."""
    if kind not in CALLS:
        return
    of_images = kind != "scores"  # else one number
    shape = getattr(found, "shape", None)
    count = len(arguments[0]) if of_images and arguments else "B"
    if shape is None or len(shape) != of_images or (shape and count not in ("B", shape[0])):
        expected = f"({count},), one loss for each image: it is averaged later"
        raise CodeError(
            f"{code.__name__} returned {given(found)}, expected "
            f"{expected if of_images else 'a tensor ()'}",
            code,
        )
