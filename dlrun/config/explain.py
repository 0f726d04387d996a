"""Why a command line was refused: every reason, one line each, where Hydra stops at the first."""

import re
from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from itertools import islice
from typing import Any

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from dlrun.config.check import problems_of
from dlrun.config.compose import PRIMARY, REFUSALS, group_options, to_plain
from dlrun.config.meant import exists, meant, no_option
from dlrun.text import flatten, show, suggest

_MOST_VALUES = 64  # of one swept key that are looked at
_SWEEPS = {
    "choice": "choice(a,b,...), one value at least",
    "range": "range(start,stop[,step]), numbers",
    "interval": "interval(low,high), two numbers",
    "glob": "glob(pattern), such as glob(resnet*)",
}
_CALL = re.compile(rf"=(?:\w+\()*(?:\w+,)*({'|'.join(_SWEEPS)})\([^()]*\)+$")


def problems(
    loader: ConfigLoader, overrides: list[str], sweep: bool, tune: bool = False
) -> list[str]:
    """Everything that is wrong with `overrides`, in their order.

    Args:
        loader: of a `config_source`.
        overrides: as typed.
        sweep: whether several values of one key are allowed.
        tune: whether they are of a study.
    """
    known = group_options(loader)
    found, values, given = [], [], {}
    for text in _joined(overrides):
        if text.startswith("sweep.") and not sweep:
            found.append(f"{text}: of a sweep alone; add -m")
            continue
        if text.startswith("tune.") and not tune:
            found.append(f"{text}: of a study alone; begin with dlrun tune")
            continue
        try:
            override = _parse(text, known)
            given[override.key_or_group] = text.partition("=")[2]
            if override.is_sweep_override() and not sweep:
                found.append(_needs_sweep(override, known))
            values.append(_values(override, loader, known))
        except _Problem as problem:
            found.append(str(problem))
    for job in _jobs(values):
        told = _Job(job, known, given).problems(refused=not sweep)
        found += [problem for problem in told if problem not in found]
    return found


def reason(error: Exception) -> str:
    """What Hydra, OmegaConf or YAML said, in one line that says where."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f"{mark.name}:{mark.line + 1}: " if mark else ""
        return f"{where}{error.problem or error.context}"
    if isinstance(error, UnicodeDecodeError):
        return f"a config file is no UTF-8 text: {error}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else repr(error)
    if text.endswith("INTERVAL_SWEEP"):
        return "interval(...) is searched by dlrun tune; -m takes a,b,c, choice(...) and range(...)"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {text}"
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        return f"in a defaults list: {no_option(group, option, list(error.options))}"
    if text.startswith("In '") and "Could not override" in text and "@" in text:
        return f"{text} A file with override lines begins with the line # @package _global_"
    return text


class _Problem(Exception):
    """One line for the user."""


def _joined(overrides: list[str]) -> list[str]:
    """With `epochs = 3`, which the shell gives as three, as the one argument that was meant."""
    if "=" not in overrides:
        return overrides
    place = overrides.index("=")
    before, after = overrides[: max(0, place - 1)], overrides[place + 2 :]
    return [*before, " ".join(overrides[max(0, place - 1) : place + 2]), *after]


def _parse(text: str, known: dict[str, list[str]]) -> Override:
    key, equals, _ = text.partition("=")
    if not text.strip():
        raise _Problem("'': an empty argument; expected key=value, such as epochs=5")
    if (equals and key != key.strip()) or not key:
        raise _Problem(f"{text}: expected key=value without spaces around =, such as epochs=5")
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        pass
    if equals and (called := _CALL.search(text)):
        raise _Problem(f"{text}: not understood; expected {_SWEEPS[called[1]]}")
    if equals:
        raise _Problem(
            f"{text}: not understood; close what is open, and give text with any of ,:=()[]{{}} "
            f"as {key}=\"'text'\""
        )
    near = " or ".join(f"{group}={text}" for group in known if text in known[group])
    hint = f". Did you mean {near}?" if near else ", such as epochs=5"
    raise _Problem(f"{text}: expected key=value{hint}")


def _needs_sweep(override: Override, known: dict[str, list[str]]) -> str:
    text, key = _typed(override), override.get_key_element()
    quoted = "" if override.key_or_group in known else f", and one text is given as {key}=\"'...'\""
    return f"{text}: several values are a sweep, which needs -m: dlrun train -m {text}{quoted}"


def _values(
    override: Override, loader: ConfigLoader, known: dict[str, list[str]]
) -> list[Override]:
    """One override for each value that this one stands for."""
    if not override.is_sweep_override():
        return [override]
    override.config_loader = loader
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            texts = [str(value.start), str(value.end)]
        elif isinstance(value, RangeSweep):
            texts = _ends(value)
        else:
            texts = list(islice(override.sweep_string_iterator(), _MOST_VALUES))
    except (HydraException, ValueError, TypeError) as error:
        raise _Problem(f"{_typed(override)}: {reason(error)}") from error
    if not texts:
        there = ", ".join(known.get(override.key_or_group, []))
        raise _Problem(f"{_typed(override)}: stands for nothing{f' of {there}' if there else ''}")
    return [_parse(f"{override.get_key_element()}={text}", known) for text in texts]


def _ends(sweep: RangeSweep) -> list[str]:
    """The first and the last value of a range, which may have a billion."""
    values = sweep.range()
    if isinstance(values, range):
        return [str(end) for ends in (values[:1], values[-1:]) for end in ends]
    first = next(values, None)
    if first is None:
        return []
    count = ((Decimal(values.stop) - Decimal(first)) / Decimal(values.step)).to_integral_value(
        ROUND_CEILING
    )
    return [str(first), str(float(Decimal(first) + (count - 1) * Decimal(values.step)))]


def _jobs(values: list[list[Override]]) -> Iterator[list[Override]]:
    """Command lines with one value a key: the first of each, then each other value once."""
    first = [choices[0] for choices in values]
    yield first
    for place, choices in enumerate(values):
        for other in choices[1:]:
            yield [*first[:place], other, *first[place + 1 :]]


class _Job:
    """One command line without sweeps."""

    def __init__(
        self, overrides: list[Override], known: dict[str, list[str]], given: dict[str, str]
    ) -> None:
        self.overrides, self.known, self.given = overrides, known, given
        self.found: list[str] = []
        self.accepted: list[Override] = []

    def problems(self, refused: bool) -> list[str]:
        """Of groups, then of the networks inside of them, then of each key on what they give.

        Args:
            refused: Hydra is known to refuse this one.
        """
        if not refused:
            try:
                self.accepted = self.overrides
                return self._told()
            except REFUSALS:
                self.accepted = []
        try:
            self._sort_out()
            return self.found + self._told()
        except REFUSALS as error:
            return [*self.found, reason(error)]

    def _told(self) -> list[str]:
        """What the types say of what was accepted."""
        config = compose(PRIMARY, overrides=[_typed(override) for override in self.accepted])
        keys = [override.get_key_element() for override in self.overrides]
        return problems_of(to_plain(config), keys)

    def _sort_out(self) -> None:
        """Accepts what Hydra would, and finds out what is wrong with the rest."""
        nested, values = [], []
        for override in self.overrides:
            group, value = override.key_or_group, override.value()
            if group.startswith("hydra"):
                self.accepted.append(override)
            elif group not in self.known or isinstance(value, dict) or override.is_delete():
                values.append(override)
            elif override.package is not None:
                nested.append(override)
            else:
                self._take(override, self._group_problem(override))
        plain = self._compose()
        choices = plain["hydra"]["runtime"]["choices"]
        for override in nested:
            self._take(override, self._nested_problem(override, choices))
        plain = self._compose() if nested else plain
        plain.pop("hydra")
        for override in values:
            self._take(override, self._value_problem(override, plain))

    def _take(self, override: Override, problem: str | None) -> None:
        if problem is None:
            self.accepted.append(override)
        else:
            self.found.append(problem)

    def _compose(self) -> dict[str, Any]:
        texts = [_typed(override) for override in self.accepted]
        config = compose(PRIMARY, overrides=texts, return_hydra_config=True)
        plain = OmegaConf.to_container(config, resolve=False)
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}

    def _group_problem(self, override: Override) -> str | None:
        group, value = override.key_or_group, override.value()
        if not _is_option(value, self.known[group]):
            return no_option(group, show(value), self.known[group])
        if override.is_add() or override.is_force_add():
            return f"{_typed(override)}: there is a {group} already; choose with {group}={value}"
        return None

    def _nested_problem(self, override: Override, choices: dict[str, Any]) -> str | None:
        group, value = override.key_or_group, override.value()
        key, adds = f"{group}@{override.package}", override.is_add() or override.is_force_add()
        if not _is_option(value, self.known[group]):
            return no_option(key, show(value), self.known[group])
        if key in choices:
            return f"{_typed(override)}: it is there already; give {key}={value}" if adds else None
        if adds:
            return None  # the types know whether the method has such a network
        there = [choice for choice in choices if "@" in choice]
        other = suggest(key, there) if there else ", nor any other besides model"
        lacking = (
            "the data set has no such part"
            if group == "dataset"
            else ("the method has no such network")
        )
        return f"{_typed(override)}: {lacking}{other}"

    def _value_problem(self, override: Override, plain: dict[str, Any]) -> str | None:
        key, text = override.key_or_group, _typed(override)
        if override.is_force_add() or (override.is_add() and not exists(plain, key)):
            return None  # a new key is met again by the types, which know every key
        value = override.value()
        inside = [f"{key}.{name}" for name in flatten(value)] if isinstance(value, dict) else []
        for unknown in (name for name in (key, *inside) if not exists(plain, name)):
            given = f" (given {self.given[key]})" if self.given[key] else ""
            return f"{unknown}: unknown key{given}{meant(unknown, plain, self.known)}"
        return f"{text}: it is there already; give {text[1:]}" if override.is_add() else None


def _typed(override: Override) -> str:
    return override.input_line or override.get_key_element()


def _is_option(value: Any, options: list[str]) -> bool:
    return isinstance(value, str) and value.removesuffix(".yaml") in options
