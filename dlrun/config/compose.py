"""From argv to a plain dict: Hydra composes the groups, then values are set on the result.

Hydra stops at the first mistake. Here each argument is checked by itself, mistakes are collected,
and the rest is composed, so that the types can find the other mistakes.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from dlrun.config.source import OwnConfigs, own_file
from dlrun.config.typed import Typed
from dlrun.config.values import MOST_JOBS, count_of, joined, read, set_values
from dlrun.errors import ConfigError, UserError
from dlrun.files import load_yaml
from dlrun.options import Choice
from dlrun.text import echo, show, suggest

PRIMARY = "train"
NOT_OF_A_RUN = ("hydra", "sweep", "tune")
"""Sections of the primary config that are no part of a run."""
SEVERAL = ("logger",)
"""Groups that take several options at once: logger=[tensorboard,mine]."""
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
"""What Hydra raises for a mistake of the user; ValueError for a file that is not UTF-8."""
# What of Hydra's own section has an effect here: with -m, and always.
_OF_SWEEPS = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep")
_ALWAYS = ("hydra.searchpath",)


class Composer:
    """Composes command lines over the packaged conf/ and, behind it, the user's own folder.

    Made by `composer`. Command lines that choose the same groups share one composition by Hydra,
    which takes a tenth of a second.
    """

    def __init__(self, loader: ConfigLoader, config_dir: str | None) -> None:
        self.loader, self.config_dir = loader, config_dir
        sources = loader.get_sources()  # the loader's own listing copies them for each group

        def listed(group: str, kind: ObjectType) -> list[str]:
            own = (s.list(group, kind) for s in sources if s.is_group(group))
            return sorted({name for names in own for name in names})

        # A folder of the user's can be another project's, with further groups.
        groups = [path.name for path in packaged().iterdir() if path.is_dir()]
        groups = sorted(name for name in groups if name not in ("hydra", "__pycache__"))
        self.options = {name: listed(name, ObjectType.CONFIG) for name in groups}
        """Every config group of ours with its options."""
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def compose(self, texts: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """The config that one command line gives, without Hydra's section, and what is wrong.

        What is wrong is left out of the config. A value that must be given and is not is '???'.
        """
        overrides, problems = self.parse(texts)
        try:
            config, wrong = self._choose(overrides)
            problems += [*wrong, *self._shadowed(config, overrides)]
            tree: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
            del tree["hydra"]
            values = [o for o in overrides if not self._is_choice(o)]
            problems += set_values(tree, values, self.options)
            return to_plain(tree), problems
        except (*REFUSALS, UserError) as error:
            raise ConfigError([*problems, reason(error)]) from None

    def parse(
        self, texts: Sequence[str], sweep: bool = False, tune: bool = False
    ) -> tuple[list[Override], list[str]]:
        """The overrides of a command line that can be read, and what is wrong with the others.

        Args:
            texts: as typed.
            sweep: whether several values of one key are allowed.
            tune: whether they are of a study, which searches intervals.
        """
        found = [self._read(text, sweep, tune) for text in joined(texts)]
        overrides = [o for o in found if not isinstance(o, str)]
        problems = [o for o in found if isinstance(o, str)]
        jobs = math.prod(map(count_of, overrides)) if sweep and not tune else 1
        if jobs > MOST_JOBS and not problems:
            number = f"{jobs:,.0f}" if jobs < 1e15 else f"{jobs:.0e}"
            problems.append(f"this sweep has {number} jobs; expected at most {MOST_JOBS:,}")
        return overrides, problems

    def _read(self, text: str, sweep: bool, tune: bool) -> Override | str:
        """The override, or the line about what is wrong with it."""
        override, shown = read(text, self.options, sweep), echo(text)
        if isinstance(override, str):
            return override
        section = override.key_or_group.partition(".")[0]
        is_hydra = section.partition("/")[0] == "hydra"
        of_sweeps = override.key_or_group.startswith(_OF_SWEEPS) or section == "sweep"
        if of_sweeps and not sweep:
            return f"{shown}: only valid in a sweep; add -m"
        if section == "tune" and not tune:
            return f"{shown}: only valid in a study; begin with dlrun tune"
        if is_hydra and not override.key_or_group.startswith((*_OF_SWEEPS, *_ALWAYS)):
            return f"{shown}: has no effect in dlrun; runs go to a folder below outputs=FOLDER"
        if not override.is_sweep_override():
            return override
        if not sweep:
            is_group, key = override.key_or_group in self.options, override.get_key_element()
            quoted = "" if is_group else f"; to give it as one text, write {key}=\"'...'\""
            needed = "several values are a sweep, which needs -m: dlrun train -m"
            return f"{shown}: {needed} {shown}{quoted}"
        if override.is_interval_sweep():
            return (
                override
                if tune
                else (
                    f"{shown}: only dlrun tune searches an interval(...); with -m, give a,b,c, "
                    "choice(...) or range(...)"
                )
            )
        override.config_loader = self.loader
        try:
            if next(override.sweep_string_iterator(), None) is not None:
                return override
        except (HydraException, ValueError, TypeError) as error:
            return f"{shown}: {reason(error)}"
        there = ", ".join(self.options.get(override.key_or_group, []))
        return f"{shown}: matches none of {there}" if there else f"{shown}: has no values"

    def _is_choice(self, override: Override) -> bool:
        """Whether it chooses an option or sets something of Hydra itself; Hydra reads those."""
        group = override.key_or_group
        if group.partition(".")[0].partition("/")[0] == "hydra":
            return True
        return group in self.options and not isinstance(override.value(), dict)

    def _choose(self, overrides: Sequence[Override]) -> tuple[DictConfig, list[str]]:
        """What the chosen options give together, and a line for each that cannot be chosen."""
        problems: list[str] = []

        def fits(problem: str | None) -> bool:
            problems.extend([problem] if problem else [])
            return problem is None

        choices = [o for o in overrides if self._is_choice(o)]
        choices = [o for o in choices if fits(_option_problem(o, self.options))]
        plain = [o for o in choices if o.package is None]
        if len(plain) < len(choices):  # a network of a method: does the chosen one have it?
            names = map(str, self._hydra(plain).hydra.runtime.choices)
            parts = [name for name in names if "@" in name]
            choices = [o for o in choices if o in plain or fits(_part_problem(o, parts))]
        return self._hydra(choices), problems

    def _hydra(self, choices: Sequence[Override]) -> DictConfig:
        texts = tuple(o.input_line or "" for o in choices)
        if texts not in self._composed:
            self._composed[texts] = hydra_compose(
                PRIMARY, overrides=list(texts), return_hydra_config=True
            )
        return self._composed[texts]

    def _shadowed(self, config: DictConfig, overrides: Sequence[Override]) -> list[str]:
        """A line for each file of the user's that Hydra ignores, since conf/ has its name.

        Only for options that the user chose, by typing them or in a file of their own: ./conf may
        be another project's.
        """
        if self.config_dir is None:
            return []
        chosen = [
            (str(key).partition("@")[0], o) for key, o in config.hydra.runtime.choices.items()
        ]
        chosen += [(group, option) for group in SEVERAL for option in config.get(group) or ()]
        own = {one: own_file(self.config_dir, one[0], str(one[1])) for one in chosen}
        shadowed = {one: path for one, path in own.items() if path and self._packaged(*one)}
        if len(shadowed) == sum(path is not None for path in own.values()):  # none is only theirs
            typed = {override.key_or_group for override in overrides}
            shadowed = {one: path for one, path in shadowed.items() if one[0] in typed}
        way = "rename yours, or name the folder of your own configs by --config-dir"
        return [f"{path}: dlrun has {g}={o} already; {way}" for (g, o), path in shadowed.items()]

    def _packaged(self, group: str, option: str) -> bool:
        return (packaged() / group / f"{option}.yaml").is_file()

    def choices(self, texts: Sequence[str]) -> dict[str, str]:
        """The option that is chosen of each group, such as {'method': 'vae'}."""
        config, _ = self._choose(self.parse(texts)[0])
        return {str(key): str(option) for key, option in config.hydra.runtime.choices.items()}

    def sections(self, group: str) -> dict[str, dict[str, Any]]:
        """The content of each option of `group`; without those whose file is wrong."""
        found = {}
        for option in self.options.get(group, []):
            try:
                content = load_yaml(self.file_of(group, option))
                if "defaults" in content:  # it builds on another, and composing takes longer
                    content = hydra_compose(f"{group}/{option}")[group]
                found[option] = to_plain(content)
            except (*REFUSALS, UserError, KeyError, TypeError):  # reported when it is chosen
                continue
        return found

    def file_of(self, group: str, option: str) -> Path:
        """The file of an option, which may be the user's own."""
        own = None
        if self.config_dir is not None and not self._packaged(group, option):
            own = own_file(self.config_dir, group, option)
        return own or packaged() / group / f"{option}.yaml"


@contextmanager
def composer(config_dir: str | None = None) -> Iterator[Composer]:
    """A `Composer` over conf/ and `config_dir`; inside of another one, that one."""
    if GlobalHydra.instance().is_initialized() and _open:
        yield _open[-1]
        return
    if config_dir is not None and Path(config_dir).resolve() == packaged().resolve():
        config_dir = None
    version.setbase("1.3")
    hydra, own = _packaged_composer() if config_dir is None else _opened(config_dir)
    GlobalHydra.instance().clear()
    GlobalHydra.instance().initialize(hydra)
    try:
        _open.append(own)
        yield own
    finally:
        _open.clear()
        GlobalHydra.instance().clear()


def _opened(config_dir: str | None) -> tuple[Hydra, Composer]:
    # As hydra.main does for --config-dir; the compose API's initialize() takes one source only.
    path = create_config_search_path("pkg://dlrun.conf")
    if config_dir is not None:
        Plugins.instance().register(OwnConfigs)
        own = f"{OwnConfigs.scheme()}://{Path(config_dir).resolve()}"
        path.prepend("user", own, SearchPathQuery(provider="schema"))  # the schema must stay last
    GlobalHydra.instance().clear()
    hydra = Hydra.create_main_hydra2("dlrun", path)
    return hydra, Composer(hydra.config_loader, config_dir)


@cache
def _packaged_composer() -> tuple[Hydra, Composer]:
    """Over conf/ alone, which does not change while a process runs."""
    return _opened(None)


_open: list[Composer] = []


def compose(texts: Sequence[str], config_dir: str | None) -> tuple[dict[str, Any], list[str]]:
    """As `Composer.compose`, for one command line."""
    with composer(config_dir) as own:
        return own.compose(texts)


def compose_plain(texts: Sequence[str], config_dir: str | None = None) -> dict[str, Any]:
    """The config that one command line gives.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    plain, problems = compose(texts, config_dir)
    if problems:
        raise ConfigError(problems)
    return plain


def to_plain(config: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """The keys of a run in a composed config, with their interpolations resolved."""
    tree: Any = OmegaConf.to_container(config) if isinstance(config, DictConfig) else config
    own = OmegaConf.create({key: tree[key] for key in tree if key not in NOT_OF_A_RUN})
    resolved: Any = OmegaConf.to_container(own, resolve=True)
    return {str(key): value for key, value in resolved.items()}


def section(group: str, option: str, **values: Any) -> dict[str, Any]:
    """The plain section of one option, such as section('method', 'supervised', dropout=0.1).

    Raises:
        ConfigError: no such option, or no such key.
    """
    found: dict[str, Any] = compose_plain([f"{group}={option}"], user_config_dir())[group]
    unknown = [f"{group}.{k}: unknown key{suggest(k, found)}" for k in values if k not in found]
    if unknown:
        raise ConfigError(unknown)
    return found | values


def options(group: str, option: str, **values: Any) -> Choice:
    """An option of a config group with its defaults, some of them changed.

        options("method", "supervised", dropout=0.1)

    Args:
        group: method, model, loss, dataset, optimizer or schedule.
        option: as typed after the group's name.
        values: keys of the option with other values.

    Raises:
        ConfigError: no such option, no such key, or a value that is wrong.
    """
    typed = Typed()
    found = typed.choice(group, section(group, option, **values), group)
    if typed.problems:
        raise ConfigError(typed.problems)
    assert isinstance(found, Choice)
    return found


def user_config_dir(given: str | None = None) -> str | None:
    """The folder of the user's configs: `given`, or ./conf if it exists and is not dlrun's own.

    Raises:
        UserError: `given` is not a folder.
    """
    if given and not Path(given).is_dir():
        raise UserError(f"--config-dir: {echo(given)} is not a folder")
    own = Path("conf")
    is_there = own.is_dir() and own.resolve() != packaged().resolve()
    return given or (str(own) if is_there else None)


def packaged() -> Path:
    """The folder of dlrun's own configs."""
    return Path(str(files("dlrun.conf")))


def _option_problem(override: Override, groups: Mapping[str, list[str]]) -> str | None:
    """Why an option cannot be chosen."""
    group, value = override.key_or_group, override.value()
    if group not in groups or override.is_delete():  # Hydra's own
        return None
    chosen: Any = value if group in SEVERAL and isinstance(value, list) else [value]
    for option in chosen:
        if not (isinstance(option, str) and option.removesuffix(".yaml") in groups[group]):
            key = override.get_key_element().lstrip("+")
            return _no_option(key, echo(show(option)), groups[group])
    if override.package is None and (override.is_add() or override.is_force_add()):
        return (
            f"{echo(override.input_line)}: there is a {group} already; choose with {group}={value}"
        )
    return None


def _part_problem(override: Override, parts: Sequence[str]) -> str | None:
    """Why a network, say, of a method cannot be chosen; `parts` are those that there are."""
    key = override.get_key_element().lstrip("+")
    adds = override.is_add() or override.is_force_add()
    if key in parts and adds:
        return f"{echo(override.input_line)}: this part exists; give {key}={override.value()}"
    if key in parts or adds:
        return None  # the types know whether the method has such a network
    owner = "data set" if override.key_or_group == "dataset" else "method"
    near = suggest(key, parts) or "; it has no further network"
    return f"{echo(override.input_line)}: the {owner} has no such part{near}"


def _no_option(key: str, given: str, options: Collection[str]) -> str:
    near = suggest(given, options, f"{key}={{}}".format, "").lstrip(".; ")
    there = f"There are {', '.join(options)}" if options else "There is none"
    return " ".join(filter(None, (f"{key}={given}: no such {key.partition('@')[0]}.", near, there)))


def reason(error: Exception) -> str:
    """The message of Hydra, OmegaConf or YAML in one line, with its place."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{mark.name}:{mark.line + 1}: " if mark else ""
        return f"{where}{error.problem or error.context}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else repr(error)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {text}"
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"in a defaults list: {_no_option(group, option, list(error.options))}"
    if text.startswith("In '") and "Could not override" in text and "@" in text:
        return f"{text} A file with override lines begins with the line # @package _global_"
    return text
