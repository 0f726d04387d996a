"""argv to a plain dict, by Hydra; where Hydra refuses, every reason at once."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.config.typed import flatten, nearest, show
from dlrun.errors import ConfigError

PRIMARY = "train"

# What people type who come from other tools, where no spelling is near enough to guess from.
_OTHER_NAMES = {
    "learning_rate": "optimizer.lr", "lr": "optimizer.lr", "weight_decay": "optimizer.weight_decay",
    "wd": "optimizer.weight_decay", "momentum": "optimizer.momentum", "bs": "batch_size",
    "batch": "batch_size", "max_epochs": "epochs", "num_epochs": "epochs", "max_steps": "steps",
    "gpu": "hardware", "device": "hardware.device", "amp": "hardware.precision",
    "precision": "hardware.precision", "data": "dataset", "data_root": "dataset.root",
    "root": "dataset.root", "arch": "model", "network": "model", "net": "model",
    "optim": "optimizer", "scheduler": "schedule", "criterion": "loss", "output_dir": "outputs",
    "log_dir": "outputs", "random_seed": "seed", "warmup": "schedule.warmup",
}  # fmt: skip


@contextmanager
def config_source(config_dir: str | None) -> Iterator[ConfigLoader]:
    """Hydra over the packaged conf/ and, behind it, the user's own config folder."""
    # As hydra.main does for --config-dir; the compose API's initialize() takes one source only.
    path = create_config_search_path("pkg://dlrun.conf")
    if config_dir is not None:
        own = f"file://{Path(config_dir).resolve()}"
        path.prepend("user", own, SearchPathQuery(provider="schema"))  # the schema must stay last
    version.setbase("1.3")
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("dlrun", path)
    try:
        yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().clear()


def user_config_dir() -> str | None:
    """./conf of the folder the user stands in, where there is one that is not dlrun's own."""
    here = Path("conf")
    packaged = Path(__file__).parents[2] / "conf"
    if not here.is_dir() or (packaged.exists() and here.resolve() == packaged.resolve()):
        return None
    return str(here)


def compose_plain(overrides: list[str], config_dir: str | None) -> dict[str, Any]:
    """The composed configuration as plain containers, without Hydra's own section.

    Raises:
        ConfigError: with one line for everything that Hydra would have refused one at a time.
    """
    with config_source(config_dir) as loader:
        try:
            return to_plain(compose(PRIMARY, overrides=overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(loader, overrides, error)) from None


def explain(loader: ConfigLoader, overrides: list[str], error: Exception) -> list[str]:
    """Every reason why `overrides` were refused, of which Hydra's `error` is the first."""
    return _problems(loader, overrides) or [_first_line(error)]


def to_plain(config: DictConfig) -> dict[str, Any]:
    """Resolved and plain. Raises ConfigError for a mandatory value (???) that is missing."""
    missing = sorted(
        str(key) for key in OmegaConf.missing_keys(config) if not str(key).startswith("hydra")
    )
    if missing:
        raise ConfigError([f"{key}: missing; give it as {key}=..." for key in missing])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return {str(key): value for key, value in plain.items()}


def group_options(loader: ConfigLoader) -> dict[str, list[str]]:
    """Every config group of ours with its options."""
    groups = [name for name in loader.list_groups("") if name != "hydra"]
    return {group: sorted(loader.get_group_options(group)) for group in sorted(groups)}


@dataclass
class _Sorted:
    groups: list[Override]
    values: list[Override]
    problems: list[str]


def _problems(loader: ConfigLoader, overrides: list[str]) -> list[str]:
    """Everything wrong with `overrides`: parsed, then the groups, then each key on what they give."""
    known = group_options(loader)
    found = _sort(overrides, known)
    accepted = [override.input_line or "" for override in found.groups]
    try:
        base = compose(PRIMARY, overrides=accepted)
    except (HydraException, OmegaConfBaseException) as error:
        return [*found.problems, _first_line(error)]
    plain = OmegaConf.to_container(base, resolve=False)
    assert isinstance(plain, dict)
    plain = {str(key): value for key, value in plain.items()}
    for override in found.values:
        problem = _value_problem(override, plain, base, known)
        if problem:
            found.problems.append(problem)
        else:
            accepted.append(override.input_line or "")
    try:
        config = compose(PRIMARY, overrides=accepted)
        if found.problems:  # tell the rest too, so that nothing is left for the next attempt
            from dlrun.config.check import problems_of

            keys = [override.key_or_group for override in [*found.groups, *found.values]]
            found.problems += problems_of(to_plain(config), keys)
        else:
            to_plain(config)
    except ConfigError as error:
        found.problems += error.problems
    except (HydraException, OmegaConfBaseException) as error:
        found.problems.append(_first_line(error))
    return found.problems


def _sort(overrides: list[str], known: dict[str, list[str]]) -> _Sorted:
    parser = OverridesParser.create()
    found = _Sorted([], [], [])
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException:
            found.problems.append(
                f"{text}: not understood; expected key=value, such as epochs=5 (quote spaces and commas)"
            )
            continue
        group = override.key_or_group
        if group.startswith("hydra"):
            found.groups.append(override)
        elif group not in known or override.is_delete():
            found.values.append(override)
        else:
            wrong = [choice for choice in _choices(override) if choice not in (*known[group], None)]
            for choice in wrong:
                found.problems.append(_no_option(group, show(choice), known[group]))
            if not wrong:
                found.groups.append(override)
    return found


def _choices(override: Override) -> list[Any]:
    """What one override chooses: a value, or in a sweep all of them."""
    if override.is_sweep_override():
        return list(override.sweep_iterator()) if override.is_discrete_sweep() else []
    return [override.value()]


def _no_option(group: str, given: str, options: list[str]) -> str:
    near = difflib.get_close_matches(given, options, n=1, cutoff=0.6)
    meant = f" Did you mean {group}={near[0]}?" if near else ""
    return f"{group}={given}: no such {group}.{meant} There are {', '.join(options)}"


def _value_problem(
    override: Override, plain: dict[str, Any], base: DictConfig, known: dict[str, list[str]]
) -> str | None:
    key = override.key_or_group
    if (
        override.is_add()
        or OmegaConf.select(base, key, throw_on_missing=False, default=plain) is not plain
    ):
        return None  # an added key is met again by the types, which know every key
    if key in flatten(plain) or _exists(plain, key):
        return None
    given = "" if override.is_delete() else f" (given {override.get_value_element_as_str()})"
    return f"{key}: unknown key{given}{_meant(key, plain, known)}"


def _exists(plain: dict[str, Any], key: str) -> bool:
    node: Any = plain
    for part in key.split("."):
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def _meant(key: str, plain: dict[str, Any], known: dict[str, list[str]]) -> str:
    keys = [*flatten(plain), *known]
    if key in _OTHER_NAMES:
        return f". Did you mean {_OTHER_NAMES[key]}?"
    section, _, last = key.rpartition(".")
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.7)
    near = near or [name for name in keys if name.rpartition(".")[2] == last]
    if near:
        return f". Did you mean {near[0]}?"
    node = plain
    for part in section.split(".") if section else []:
        node = node.get(part) if isinstance(node, dict) else None  # type: ignore[assignment]
    if section and isinstance(node, dict):
        return nearest(last, [str(name) for name in node], section)
    return "; `dlrun train --help` lists them"


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
