"""The types of the whole config, and its check. The values stand in conf/ and nowhere else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from inspect import isabstract
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from dlrun.config.typed import WRONG, Typed
from dlrun.data.options import AugmentConfig, BiasConfig
from dlrun.errors import ConfigError, UserError
from dlrun.options import (
    Choice,
    Count,
    Duration,
    FilePath,
    Group,
    InSteps,
    NonEmpty,
    Pattern,
    Units,
    Whole,
)
from dlrun.registry import at, lookup
from dlrun.text import echo

# It becomes a part of the name of the run's folder.
RunName = Annotated[
    str,
    Pattern(
        r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}",
        "(at most 100 characters, no slash, no dot in front)",
    ),
]


@dataclass(frozen=True)
class HardwareConfig:
    """What the user asks of the machine; `training.hardware` decides what `auto` means."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    devices: Count | Literal["auto"]
    sync_batchnorm: bool
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    memory_format: Literal["auto", "channels_last", "contiguous"]
    compile: bool
    threads: Count | Literal["auto"]
    deterministic: bool
    data: Literal["auto", "device", "host"]
    anomaly: bool


@dataclass(frozen=True)
class SweepConfig:
    """How `dlrun train -m` runs its jobs; no part of a run's config."""

    jobs: Count | Literal["auto"]
    retry: Literal["failed"] | None
    fail_fast: bool


@dataclass(frozen=True)
class TuneConfig:
    """How `dlrun tune` searches; no part of a run's config."""

    trials: Count
    sampler: Literal["tpe", "random", "grid", "nsga2"]
    pruner: Literal["auto", "median", "hyperband", "none"]
    objective: tuple[NonEmpty, ...] | NonEmpty | None
    timeout: Annotated[Duration, Units(("s", "min"))] | None
    seed: Whole


@dataclass(frozen=True)
class TrainConfig:
    """The complete config of one run. Nothing below the command line reads any other."""

    method: Annotated[Choice, Group("method")]
    model: Annotated[Choice, Group("model")]
    loss: Annotated[Choice, Group("loss")]
    dataset: Annotated[Choice, Group("dataset")]
    hardware: HardwareConfig
    optimizer: Annotated[Choice, Group("optimizer")]
    schedule: Annotated[Choice, Group("schedule")]
    augment: AugmentConfig
    bias: BiasConfig
    logger: dict[str, Annotated[Choice, Group("logger")]]
    groups: tuple[NonEmpty, ...] | None
    seed: Whole
    epochs: Count
    steps: Count | None
    batch_size: Count
    accumulate: Count
    log_every: InSteps
    eval_every: InSteps
    patience: Count | None
    checkpoint_every: Annotated[Duration, Units(("steps", "epochs", "%", "s", "min"))]
    name: RunName | None
    outputs: FilePath
    data_dir: FilePath | None


_NEED_TORCH = ("method", "model", "loss")
"""Groups whose classes are in files that import torch."""


def check(
    plain: dict[str, Any],
    problems: Sequence[str] = (),
    given: Sequence[str] = (),
    quick: bool = False,
) -> TrainConfig:
    """The typed config.

    Args:
        plain: composed and resolved.
        problems: mistakes that were found when it was composed.
        given: what the user typed, `key=value` each.
        quick: whether nothing but `given` can be wrong. If none of them needs a class, a mistake is
            reported without importing torch.

    Raises:
        ConfigError: one line each for `problems`, unknown keys, wrong types, values out of range,
            and a method that cannot use the chosen model, loss or data set.
    """
    quick = quick and not any(map(_needs_class, given))
    typed = Typed(problems, _NEED_TORCH, lambda found: not (quick and found), given=given)
    config = typed.build(TrainConfig, plain)
    found = typed.problems
    if not (problems or typed.stopped):  # with a wrong choice left out, others need not fit
        found += combination_problems(plain, None if config is WRONG else config.method.options)
        found += _unused_loss(plain, given)
    if found:
        raise ConfigError(list(dict.fromkeys(found)))
    assert isinstance(config, TrainConfig)
    return config


def check_without_torch(
    plain: dict[str, Any], problems: Sequence[str] = (), given: Sequence[str] = ()
) -> None:
    """Checks all but the options of method, model and loss. Raises ConfigError."""
    typed = Typed(problems, _NEED_TORCH, lambda found: False, given=given)
    typed.build(TrainConfig, plain)
    if typed.problems:
        raise ConfigError(list(dict.fromkeys(typed.problems)))


def _unused_loss(plain: dict[str, Any], given: Sequence[str]) -> list[str]:
    """A line for a loss that was typed for a method that takes none."""
    method = _class("method", plain.get("method"))
    if method is None or method.loss_kind is not None:
        return []
    typed = [text for text in given if text.lstrip("+").startswith(("loss=", "loss."))]
    name = plain["method"]["name"]
    return [f"{echo(text)}: {name} builds its own loss and takes none" for text in typed]


def _needs_class(given: str) -> bool:
    # A method alone brings what fits it; only with a second choice can the two not fit.
    key = given.lstrip("+~").partition("=")[0]
    group = key.partition(".")[0].partition("@")[0]
    return group in ("model", "loss") or key.startswith("method.") or "@" in key


def combination_problems(plain: dict[str, Any], options: Any = None) -> list[str]:
    """A line for each network, loss or data set that the chosen method cannot use.

    `options` are those of the method as a dataclass, if they are right.
    """
    method = _class("method", plain.get("method"))
    if method is None:
        return []
    user = f"method {plain['method']['name']}"
    problems = []
    for key, group, own, wanted in _parts(method, plain):
        chosen = _class(group, own)
        if chosen is not None and wanted is not None and wanted not in _kinds(chosen):
            given, fitting = _options_of_kind(group, own, wanted)
            problems.append(
                f"{key}={given}: {user} needs a {group} of kind {wanted}, this one{at(chosen)} "
                f"is of kind {' and '.join(_kinds(chosen))}; expected "
                f"{' or '.join(fitting) or 'one of your own'}"
            )
    view = method.view if options is None else method.view_for(options)
    needs_labels = getattr(view, "needs_labels", None)
    if needs_labels is None or isabstract(view):
        problems.append(
            f"method.name: the view of {plain['method']['name']}{at(method)} is "
            f"{method.view!r}; expected a class of dlrun.data.batches, such as Labelled, "
            "or one that has draw(batches, number)"
        )
    dataset = _class("dataset", plain.get("dataset"))
    if dataset is not None and needs_labels and not dataset.may_have_labels:
        problems.append(
            f"dataset={plain['dataset']['name']}: {user} needs labels, this data set has none"
        )
    return problems


def _parts(method: Any, plain: dict[str, Any]) -> Iterator[tuple[str, str, Any, str | None]]:
    """The parts of a method: key, group, section of the config, and the kind that it needs."""
    yield "model", "model", plain.get("model"), method.model_kind
    yield "loss", "loss", plain.get("loss"), method.loss_kind
    try:
        hints = get_type_hints(method.Config, include_extras=True)
    except (AttributeError, NameError, TypeError):  # reported when the options were read
        return
    for field, hint in hints.items():
        extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        for extra in extras:
            if isinstance(extra, Group):
                key = f"{extra.name}@method.{field}"
                yield key, extra.name, plain["method"].get(field), extra.kind


def _options_of_kind(group: str, given: dict[str, Any], kind: str) -> tuple[str, list[str]]:
    """The option of `group` that `given` comes from, and those whose class is of `kind`.

    An option is a file of conf/; its name differs from that of its class in the registry.
    """
    from dlrun.config.compose import composer, user_config_dir  # Hydra, for a mistake only

    with composer(user_config_dir()) as own:
        sections = own.sections(group)
    fitting = [
        option
        for option, section in sections.items()
        if (cls := _class(group, section)) is not None and kind in _kinds(cls)
    ]
    same = {
        option: sum(given.get(key) == value for key, value in section.items())
        for option, section in sections.items()
        if section.get("name") == given["name"]
    }
    return max(same, key=same.__getitem__, default=given["name"]), fitting


def _class(group: str, section: Any) -> Any:
    try:
        return lookup(group, section["name"])
    except (UserError, TypeError, KeyError):  # a wrong name is already among the problems
        return None


def _kinds(cls: Any) -> tuple[str, ...]:
    return (cls.kind,) if isinstance(cls.kind, str) else cls.kind
