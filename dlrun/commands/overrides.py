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
    from dlrun.config.compose import Problem, compose_plain, composer, set_value, user_config_dir

    keys = [word.lstrip("+").partition("=")[0] for word in overrides]
    if any(key == "dataset" or "@" in key for key in keys):
        plain = compose_plain(list(overrides), user_config_dir())
        return plain["dataset"], plain["data_dir"] or config.get("data_dir")
    changed = {"dataset": deepcopy(config["dataset"]), "data_dir": config.get("data_dir")}
    with composer() as own:
        parsed, problems = own.parse(overrides)
    for override in parsed:
        try:
            set_value(changed, override)
        except Problem as problem:
            problems.append(str(problem))
    if problems:
        raise ConfigError(problems)
    return changed["dataset"], changed["data_dir"]
