"""From plain containers to the frozen TrainConfig, with every mistake told at once."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from dlrun.config.compose import composer, section, user_config_dir
from dlrun.config.schema import TrainConfig
from dlrun.config.typed import WRONG, Typed
from dlrun.errors import ConfigError, UserError
from dlrun.options import Choice, Duration, Group
from dlrun.registry import lookup

_NEED_TORCH = ("method", "model", "loss")
"""Groups whose classes live in files that import torch."""


def check(
    plain: dict[str, Any], problems: Sequence[str] = (), keys: Collection[str] | None = None
) -> TrainConfig:
    """The typed configuration.

    Args:
        plain: composed and resolved.
        problems: what was found wrong while it was composed.
        keys: those that the user gave, where that is all that can be wrong. If none of them needs a
            class, a mistake is told without importing torch.

    Raises:
        ConfigError: one line each for `problems`, unknown keys, wrong types, values out of range,
            and a method that cannot use the chosen model, loss or data set.
    """
    quick = keys is not None and not any(map(_needs_class, keys))
    typed = Typed(problems, _NEED_TORCH, proceed=lambda found: not (quick and found))
    config = typed.build(TrainConfig, plain)
    found = typed.problems
    if not (problems or typed.stopped):  # with a wrong choice left out, others need not fit
        found += combination_problems(plain, None if config is WRONG else config.method.options)
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    assert isinstance(config, TrainConfig)
    return config


def options(group: str, option: str, **values: Any) -> Choice:
    """An option of a config group with its defaults, some of them changed.

        options("method", "supervised", dropout=0.1)

    Raises:
        ConfigError: no such option, no such key, or a value that is wrong.
    """
    typed = Typed()
    found = typed.choice(group, section(group, option, **values), group)
    if typed.problems:
        raise ConfigError(typed.problems)
    assert isinstance(found, Choice)
    return found


def check_without_torch(plain: dict[str, Any], problems: Sequence[str] = ()) -> None:
    """All but the options of method, model and loss. Raises ConfigError."""
    typed = Typed(problems, _NEED_TORCH, proceed=lambda found: False)
    typed.build(TrainConfig, plain)
    if typed.problems:
        raise ConfigError(typed.problems)


def _needs_class(key: str) -> bool:
    # A method alone brings what fits it; only with a second choice can the two not fit.
    group = key.lstrip("+~").partition(".")[0].partition("@")[0]
    return group in ("model", "loss") or key.lstrip("+~").startswith("method.") or "@" in key


def combination_problems(plain: dict[str, Any], typed: Any = None) -> list[str]:
    """Where the method cannot use the networks, the loss or the data set it was given.

    `typed` are the method's options as a dataclass, where they are in order.
    """
    method = _class("method", plain.get("method"))
    if method is None:
        return []
    user = f"method {plain['method']['name']}"
    problems = []
    for key, group, own, wanted in _parts(method, plain):
        chosen = _class(group, own)
        if chosen is None or wanted is None or wanted in _kinds(chosen):
            continue
        given, fitting = _options(group, own, wanted)
        problems.append(
            f"{key}={given}: {user} needs a {group} of kind {wanted}, this one is of kind "
            f"{' and '.join(_kinds(chosen))}; expected {' or '.join(fitting) or 'one of your own'}"
        )
    view = method.view if typed is None else method.view_for(typed)
    needs_labels = getattr(view, "needs_labels", None)
    if needs_labels is None:
        problems.append(
            f"method.name: the view of {plain['method']['name']} is {method.view!r}; expected a "
            "class of dlrun.data.views, such as Labelled"
        )
    dataset = _class("dataset", plain.get("dataset"))
    if dataset is not None and needs_labels and not dataset.may_have_labels:
        problems.append(
            f"dataset={plain['dataset']['name']}: {user} needs labels, this data set has none"
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
    if isinstance(value, Mapping):
        return {key: to_plain_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain_types(item) for item in value]
    return value


def _class(group: str, section: Any) -> Any:
    try:
        return lookup(group, section["name"])
    except (UserError, TypeError, KeyError):  # a wrong name is already among the problems
        return None


def _kinds(cls: Any) -> tuple[str, ...]:
    return (cls.kind,) if isinstance(cls.kind, str) else cls.kind


def _parts(method: Any, plain: dict[str, Any]) -> Iterator[tuple[str, str, Any, str | None]]:
    """What the method is made of: key, group, section of the config, and the kind that it needs."""
    yield "model", "model", plain.get("model"), method.model_kind
    yield "loss", "loss", plain.get("loss"), method.loss_kind
    try:
        hints = get_type_hints(method.Config, include_extras=True)
    except (AttributeError, NameError, TypeError):  # told when the options were read
        return
    for field, hint in hints.items():
        extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        for extra in extras:
            if isinstance(extra, Group):
                key = f"{extra.name}@method.{field}"
                yield key, extra.name, plain["method"].get(field), extra.kind


def _options(group: str, given: dict[str, Any], kind: str) -> tuple[str, list[str]]:
    """The option of `group` that `given` comes from, and those whose class is of `kind`.

    People type the options, the files of conf/, and not the names of the registry.
    """
    with composer(user_config_dir()) as own:
        sections = own.sections(group)
    fitting = [option for option, section in sections.items() if kind in _kinds_of(group, section)]
    same = {
        option: sum(given.get(key) == value for key, value in section.items())
        for option, section in sections.items()
        if section.get("name") == given["name"]
    }
    return max(same, key=same.__getitem__, default=given["name"]), fitting


def _kinds_of(group: str, section: dict[str, Any]) -> tuple[str, ...]:
    chosen = _class(group, section)
    return () if chosen is None else _kinds(chosen)
