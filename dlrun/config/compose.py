"""From argv to a plain dict: Hydra composes the groups, then values are set on the result.

Hydra stops at the first mistake. Here each argument is checked by itself, mistakes are collected,
and the rest is composed, so that the types can find the other mistakes.
"""

import re
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
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from dlrun.config.typed import Typed
from dlrun.errors import ConfigError, UserError
from dlrun.files import load_yaml
from dlrun.options import Choice
from dlrun.text import flatten, show, suggest

PRIMARY = "train"
NOT_OF_A_RUN = ("hydra", "sweep", "tune")
"""Sections of the primary config that are no part of a run."""
SEVERAL = ("logger",)
"""Groups that take several options at once: logger=[tensorboard,mine]."""
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)
"""What Hydra raises for a mistake of the user; ValueError for a file that is not UTF-8."""
_SWEEPS = {
    "choice": "choice(a,b,...) with at least one value",
    "range": "range(start,stop[,step]) with numbers",
    "interval": "interval(low,high) with two numbers",
    "glob": "glob(pattern), such as glob(resnet*)",
}
_CALL = re.compile(rf"=(?:\w+\()*(?:\w+,)*({'|'.join(_SWEEPS)})\([^()]*\)+$")
# Names of other tools, which are spelt too differently to be guessed.
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

        groups = [name for name in listed("", ObjectType.GROUP) if name != "hydra"]
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
            problems += [*wrong, *self._shadowed(config)]
            tree: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
            del tree["hydra"]
            values = [o for o in overrides if not self._is_choice(o)]
            problems += set_values(tree, values, self.options)
            return to_plain(tree), problems
        except REFUSALS as error:
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
        read = [self._read(text, sweep, tune) for text in _joined(texts)]
        return [o for o in read if not isinstance(o, str)], [o for o in read if isinstance(o, str)]

    def _read(self, text: str, sweep: bool, tune: bool) -> Override | str:
        """The override, or the line about what is wrong with it."""
        if text.startswith("sweep.") and not sweep:
            return f"{text}: only valid in a sweep; add -m"
        if text.startswith("tune.") and not tune:
            return f"{text}: only valid in a study; begin with dlrun tune"
        override = _read(text, self.options)
        if isinstance(override, str) or not override.is_sweep_override():
            return override
        if not sweep:
            is_group, key = override.key_or_group in self.options, override.get_key_element()
            quoted = "" if is_group else f"; to give it as one text, write {key}=\"'...'\""
            return (
                f"{text}: several values are a sweep, which needs -m: dlrun train -m {text}{quoted}"
            )
        if override.is_interval_sweep():
            return (
                override
                if tune
                else (
                    f"{text}: only dlrun tune searches an interval(...); with -m, give a,b,c, "
                    "choice(...) or range(...)"
                )
            )
        override.config_loader = self.loader
        try:
            if next(override.sweep_string_iterator(), None) is not None:
                return override
        except (HydraException, ValueError, TypeError) as error:
            return f"{text}: {reason(error)}"
        there = ", ".join(self.options.get(override.key_or_group, []))
        return f"{text}: matches none of {there}" if there else f"{text}: has no values"

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

    def _shadowed(self, config: DictConfig) -> list[str]:
        """A line for each file of the user's that Hydra ignores, since conf/ has its name."""
        if self.config_dir is None:
            return []
        clashes = []
        several = [(group, option) for group in SEVERAL for option in config.get(group) or ()]
        for key, option in [*config.hydra.runtime.choices.items(), *several]:
            group = str(key).partition("@")[0]
            own = Path(self.config_dir) / group / f"{option}.yaml"
            if own.is_file() and (packaged() / group / f"{option}.yaml").is_file():
                clashes.append(f"{own}: dlrun has {group}={option} already; rename yours")
        return clashes

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
            except (*REFUSALS, KeyError, TypeError):  # reported when it is chosen
                continue
        return found

    def file_of(self, group: str, option: str) -> Path:
        """The file of an option, which may be the user's own."""
        path = packaged() / group / f"{option}.yaml"
        if self.config_dir is None or path.is_file():
            return path
        return Path(self.config_dir) / group / f"{option}.yaml"


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
        own = f"file://{Path(config_dir).resolve()}"
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
    with composer(user_config_dir()) as own:
        plain, problems = own.compose([f"{group}={option}"])
        found: dict[str, Any] = plain[group]
    problems += [
        f"{group}.{key}: unknown key{suggest(key, found)}" for key in values if key not in found
    ]
    if problems:
        raise ConfigError(problems)
    return found | values


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


def user_config_dir(given: str | None = None) -> str | None:
    """The folder of the user's configs: `given`, or ./conf if it exists and is not dlrun's own.

    Raises:
        UserError: `given` is not a folder.
    """
    if given and not Path(given).is_dir():
        raise UserError(f"--config-dir: {given} is not a folder")
    own = Path("conf")
    is_there = own.is_dir() and own.resolve() != packaged().resolve()
    return given or (str(own) if is_there else None)


def packaged() -> Path:
    """The folder of dlrun's own configs."""
    return Path(str(files("dlrun.conf")))


def set_values(
    tree: dict[str, Any], overrides: Sequence[Override], groups: Collection[str] = ()
) -> list[str]:
    """Sets, adds or deletes keys of `tree`, as Hydra would; a line for each that is wrong."""
    problems = [_set(tree, override, groups) for override in overrides]
    return [problem for problem in problems if problem is not None]


def _set(tree: dict[str, Any], override: Override, groups: Collection[str]) -> str | None:
    key, text = override.key_or_group, override.input_line or override.get_key_element()
    added = override.is_add() or override.is_force_add()
    value = override.value()
    if override.is_add() and _exists(tree, key):
        return f"{text}: this key exists; give {text[1:]}"
    inner = flatten(value) if isinstance(value, dict) else ()
    for name in () if added else (key, *(f"{key}.{name}" for name in inner)):
        if not _exists(tree, name):
            return f"{name}: unknown key{_suggest_key(name, tree, groups)}"
    *parents, last = key.split(".")
    node = tree
    for parent in parents:
        if not isinstance(node.get(parent), dict):
            node[parent] = {}
        node = node[parent]
    if override.is_delete():
        del node[last]
    elif isinstance(value, dict) and isinstance(node.get(last), dict):
        node[last] = OmegaConf.to_container(OmegaConf.merge(node[last], value))
    else:
        node[last] = value
    return None


def _joined(texts: Sequence[str]) -> list[str]:
    """With `epochs = 3`, which the shell passes as three arguments, as one."""
    if "=" not in texts:
        return list(texts)
    at = list(texts).index("=")
    before, after = texts[: max(0, at - 1)], texts[at + 2 :]
    return [*before, " ".join(texts[max(0, at - 1) : at + 2]), *after]


def _read(text: str, groups: Mapping[str, Collection[str]]) -> Override | str:
    key, equals, _ = text.partition("=")
    if not text.strip():
        return "'': an empty argument; expected key=value, such as epochs=5"
    if (equals and key != key.strip()) or not key:
        return f"{text}: expected key=value without spaces around =, such as epochs=5"
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        pass
    if not equals:
        near = " or ".join(f"{group}={text}" for group in groups if text in groups[group])
        hint = f". Did you mean {near}?" if near else ", such as epochs=5"
        return f"{text}: expected key=value{hint}"
    if called := _CALL.search(text):
        return f"{text}: not understood; expected {_SWEEPS[called[1]]}"
    return (
        f"{text}: not understood; close every quote and bracket, and give text that contains "
        f"any of ,:=()[]{{}} as {key}=\"'text'\""
    )


def _option_problem(override: Override, groups: Mapping[str, list[str]]) -> str | None:
    """Why an option cannot be chosen."""
    group, value = override.key_or_group, override.value()
    if group not in groups or override.is_delete():  # Hydra's own
        return None
    chosen: Any = value if group in SEVERAL and isinstance(value, list) else [value]
    for option in chosen:
        if not (isinstance(option, str) and option.removesuffix(".yaml") in groups[group]):
            key = override.get_key_element().lstrip("+")
            return _no_option(key, show(option), groups[group])
    if override.package is None and (override.is_add() or override.is_force_add()):
        return f"{override.input_line}: there is a {group} already; choose with {group}={value}"
    return None


def _part_problem(override: Override, parts: Sequence[str]) -> str | None:
    """Why a network, say, of a method cannot be chosen; `parts` are those that there are."""
    key = override.get_key_element().lstrip("+")
    adds = override.is_add() or override.is_force_add()
    if key in parts and adds:
        return f"{override.input_line}: this part exists; give {key}={override.value()}"
    if key in parts or adds:
        return None  # the types know whether the method has such a network
    owner = "data set" if override.key_or_group == "dataset" else "method"
    near = suggest(key, parts) or "; it has no further network"
    return f"{override.input_line}: the {owner} has no such part{near}"


def _no_option(key: str, given: str, options: Collection[str]) -> str:
    near = suggest(given, options, f"{key}={{}}".format, "").lstrip(".; ")
    there = f"There are {', '.join(options)}" if options else "There is none"
    return " ".join(filter(None, (f"{key}={given}: no such {key.partition('@')[0]}.", near, there)))


def _suggest_key(key: str, plain: dict[str, Any], groups: Collection[str]) -> str:
    """The end of a line about an unknown `key`: the nearest in `plain`, or all of its section."""
    if key in _OTHER_NAMES:
        return f". Did you mean {_OTHER_NAMES[key]}?"
    section, _, last = key.rpartition(".")
    parent = _select(plain, section)
    if not isinstance(parent, dict) and _exists(plain, section):
        return f"; {section} is {show(parent)}, not a section of keys"
    keys = [name for name in (*flatten(plain), *groups) if not name.endswith(".name")]
    inside = [str(name) for name in parent if name != "name"] if section and parent else []
    # The last part may be misspelt, or the section, or it is the name of a key elsewhere.
    by_last = {name.rpartition(".")[2]: name for name in reversed(keys)}
    for given, known in (
        (last, {name: f"{section}.{name}" for name in inside}),
        (key, {} if inside else {name: name for name in keys}),
        (last, by_last),
    ):
        if near := suggest(given, known, known.__getitem__, "", 0.7):
            return near
    return f"; expected one of {', '.join(inside)}" if inside else "; dlrun train --help lists them"


def _select(plain: dict[str, Any], key: str) -> Any:
    node: Any = plain
    for part in key.split(".") if key else ():
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _exists(plain: dict[str, Any], key: str) -> bool:
    section, _, last = key.rpartition(".")
    parent = _select(plain, section)
    return isinstance(parent, dict) and last in parent


def reason(error: Exception) -> str:
    """The message of Hydra, OmegaConf or YAML in one line, with its place."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{mark.name}:{mark.line + 1}: " if mark else ""
        return f"{where}{error.problem or error.context}"
    if isinstance(error, UnicodeDecodeError):
        return f"a config file is not UTF-8 text: {error}"
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
