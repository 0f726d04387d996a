"""`dataset=...` behind a verb that uses a trained run: its own data set, changed or another one."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from dlrun.errors import ConfigError, UserError


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Runs or files, and overrides.

    Raises:
        UserError: something else than the data set is overridden.
    """
    overrides = [word for word in words if _is_override(word)]
    for word in overrides:
        key = word.lstrip("+").partition("=")[0]
        if key.partition(".")[0].partition("@")[0] not in ("dataset", "data_dir"):
            raise UserError(
                f"{word}: a run is what it is; only dataset=..., dataset.KEY=... and data_dir=... "
                "can be given here"
            )
    return [word for word in words if word not in overrides], overrides


def _is_override(word: str) -> bool:
    key, equals, _ = word.partition("=")
    return bool(equals) and "/" not in key and " " not in key


def dataset_section(
    config: dict[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], str | None]:
    """The plain options of the data set that is meant, and where data is kept.

    Args:
        config: the run's own.
        overrides: as typed.

    Raises:
        ConfigError: as for a training.
    """
    keys = [word.lstrip("+").partition("=")[0] for word in overrides]
    if any(key == "dataset" or "@" in key for key in keys):
        from dlrun.config.compose import compose_plain, user_config_dir

        plain = compose_plain(list(overrides), user_config_dir())
        return plain["dataset"], plain["data_dir"] or config.get("data_dir")
    changed = {"dataset": deepcopy(config["dataset"]), "data_dir": config.get("data_dir")}
    for key, value in _parsed(overrides):
        *parents, last = key.split(".")
        place = changed
        for parent in parents:
            place = place[parent] if isinstance(place.get(parent), dict) else {}
        if last not in place:
            raise ConfigError([f"{key}: unknown key; there are {', '.join(place)}"])
        place[last] = value
    return changed["dataset"], changed["data_dir"]


def _parsed(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    if not overrides:
        return []
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        return [(item.key_or_group, item.value()) for item in parsed]
    except HydraException as error:
        raise ConfigError([str(error).splitlines()[0]]) from None
