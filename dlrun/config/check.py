"""From plain containers to the frozen TrainConfig, with every mistake told at once."""

from collections.abc import Collection
from dataclasses import fields, is_dataclass
from typing import Any

from dlrun.config.schema import TrainConfig
from dlrun.config.typed import WRONG, Typed
from dlrun.errors import ConfigError
from dlrun.options import Choice, Duration
from dlrun.registry import lookup


# Their classes live in files that import torch.
_NEED_TORCH = ("method", "model", "loss")


def check(plain: dict[str, Any], typed_by_user: Collection[str] | None = None) -> TrainConfig:
    """The typed configuration.

    Args:
        plain: composed and resolved.
        typed_by_user: the keys that the user gave, where that is all that can be wrong. If none of
            them needs a class, a mistake elsewhere is told without importing torch.

    Raises:
        ConfigError: one line each for unknown keys, wrong types, values out of range, and for a
            method that cannot use the chosen model, loss or data set.
    """
    if typed_by_user is not None and not any(_needs_class(key) for key in typed_by_user):
        check_light(plain)
    typed = Typed()
    config = typed.build(TrainConfig, plain)
    problems = typed.problems + combination_problems(plain)
    if problems or config is WRONG:
        raise ConfigError(problems)
    assert isinstance(config, TrainConfig)
    return config


def check_light(plain: dict[str, Any]) -> None:
    """What can be checked without torch. Raises ConfigError."""
    typed = Typed(_NEED_TORCH)
    typed.build(TrainConfig, plain)
    if typed.problems:
        raise ConfigError(typed.problems)


def _needs_class(key: str) -> bool:
    # A method alone brings what fits it; only with a second choice can the two not fit.
    group = key.lstrip("+~").partition(".")[0].partition("@")[0]
    return group in ("model", "loss") or key.lstrip("+~").startswith("method.") or "@" in key


def problems_of(plain: dict[str, Any], typed_by_user: Collection[str]) -> list[str]:
    """What `check` would say; without torch where the user's keys need no class."""
    try:
        if any(_needs_class(key) for key in typed_by_user):
            check(plain)
        else:
            check_light(plain)
    except ConfigError as error:
        return error.problems
    return []


def combination_problems(plain: dict[str, Any]) -> list[str]:
    """Where the method cannot use the model, the loss or the data set it was given."""
    method = _class("method", plain)
    if method is None:
        return []
    problems = []
    for group in ("model", "loss"):
        chosen = _class(group, plain)
        wanted = getattr(method, f"{group}_kind", None)
        if chosen is None or wanted is None or wanted in _kinds(chosen):
            continue
        fitting = [name for name in _built_in(group) if wanted in _kinds(lookup(group, name))]
        problems.append(
            f"{group}={plain[group]['name']}: method {plain['method']['name']} needs a {group} of "
            f"kind {wanted}, this one is {' and '.join(_kinds(chosen))}; expected {' or '.join(fitting)}"
        )
    dataset = _class("dataset", plain)
    if (
        dataset is not None
        and method.view.needs_labels
        and not getattr(dataset, "may_have_labels", True)
    ):
        problems.append(
            f"dataset={plain['dataset']['name']}: method {plain['method']['name']} needs labels, "
            "this data set has none"
        )
    return problems


def to_plain_types(value: Any) -> Any:
    """A typed configuration back to what YAML and a checkpoint can hold."""
    if isinstance(value, Choice):
        return {"name": value.name} | to_plain_types(value.options)
    if isinstance(value, Duration):
        return int(value.amount) if value.unit == "steps" else str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain_types(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return [to_plain_types(item) for item in value]
    return value


def _class(group: str, plain: dict[str, Any]) -> Any:
    section = plain.get(group)
    try:
        return lookup(group, section["name"]) if isinstance(section, dict) else None
    except Exception:  # a wrong name is already among the problems
        return None


def _kinds(cls: Any) -> tuple[str, ...]:
    kind = cls.kind
    return (kind,) if isinstance(kind, str) else tuple(kind)


def _built_in(group: str) -> list[str]:
    from dlrun.registry import names

    return names(group)
