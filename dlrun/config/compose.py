"""argv to a plain dict, by Hydra."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose, version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dlrun.errors import ConfigError

PRIMARY = "train"
NOT_OF_A_RUN = ("hydra", "sweep", "tune")
"""Sections of the primary config that no run knows of."""
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
"""What Hydra raises for a user's mistake; ValueError for a group that is given a number, and for a
file that is no UTF-8."""


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
    return str(here) if here.is_dir() and here.resolve() != _packaged().resolve() else None


def compose_plain(overrides: list[str], config_dir: str | None) -> dict[str, Any]:
    """The composed configuration as plain containers, without Hydra's own section.

    Raises:
        ConfigError: with one line for everything that Hydra would have refused one at a time.
    """
    with config_source(config_dir) as loader:
        try:
            config = compose(PRIMARY, overrides=overrides, return_hydra_config=True)
            if any(text.startswith(("sweep.", "tune.")) for text in overrides):
                from dlrun.config.explain import problems

                raise ConfigError(problems(loader, overrides, sweep=False))
            _demand_own_names(config.hydra.runtime.choices, config_dir)
            with open_dict(config):
                del config["hydra"]
            return to_plain(config)
        except REFUSALS as error:
            raise ConfigError(explain(loader, overrides, error, sweep=False)) from None


def explain(
    loader: ConfigLoader, overrides: list[str], error: Exception, sweep: bool = True
) -> list[str]:
    """Every reason why `overrides` were refused, of which Hydra's `error` is the first.

    Args:
        loader: of a `config_source`.
        overrides: as typed.
        error: one of `REFUSALS`.
        sweep: whether several values of one key were allowed.
    """
    from dlrun.config.explain import problems, reason

    return problems(loader, overrides, sweep) or [reason(error)]


def to_plain(config: DictConfig) -> dict[str, Any]:
    """A run's part, resolved and plain. What has to be given and was not stays '???'."""
    parts = [str(key) for key in config if key not in NOT_OF_A_RUN]
    plain = OmegaConf.to_container(OmegaConf.masked_copy(config, parts), resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def group_options(loader: ConfigLoader) -> dict[str, list[str]]:
    """Every config group of ours with its options."""
    groups = [name for name in loader.list_groups("") if name != "hydra"]
    return {group: sorted(loader.get_group_options(group)) for group in sorted(groups)}


def group_sections(group: str) -> dict[str, dict[str, Any]]:
    """What each option of `group` says, the user's own among them; without those that say it wrong.

    Sees the config folders of the command that is being composed, or else ./conf.
    """
    if not GlobalHydra.instance().is_initialized():
        with config_source(user_config_dir()):
            return group_sections(group)
    loader = GlobalHydra.instance().config_loader()
    sections = {}
    for option in loader.get_group_options(group):
        path = f"{group}/{option}"
        try:
            source = next(source for source in loader.get_sources() if source.is_config(path))
            config = source.load_config(path).config
            if "defaults" in config:  # it builds on another; composing takes much longer
                config = compose(path)[group]
            if isinstance(config, DictConfig):
                sections[option] = to_plain(config)
        except (*REFUSALS, KeyError):  # told where it is chosen
            continue
    return sections


def _demand_own_names(choices: DictConfig, config_dir: str | None) -> None:
    """The packaged file would be taken in silence where the user's own has its name."""
    if config_dir is None or Path(config_dir).resolve() == _packaged().resolve():
        return
    clashes = []
    for key, option in choices.items():
        group = str(key).partition("@")[0]
        own = Path(config_dir) / group / f"{option}.yaml"
        if own.is_file() and (_packaged() / group / f"{option}.yaml").is_file():
            clashes.append(f"{own}: dlrun has {group}={option} already; rename yours")
    if clashes:
        raise ConfigError(clashes)


def _packaged() -> Path:
    return Path(str(files("dlrun.conf")))
