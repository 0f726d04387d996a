"""Plain values against dataclass types: every mistake collected, none raised.

Understands bool, int, float, str, Literal, unions, tuples, nested dataclasses, and from
`dlrun.options` Range, Units and Group. Numbers are never guessed from strings.
"""

import difflib
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dlrun.errors import UserError
from dlrun.options import Choice, Duration, Group, Range, Units
from dlrun.registry import lookup

WRONG: Any = object()
"""Stands for a value that was not accepted; the reason is among the problems."""

_DURATION_UNITS = {
    "": "steps", "step": "steps", "steps": "steps", "epoch": "epochs", "epochs": "epochs",
    "ep": "epochs", "%": "%", "s": "s", "sec": "s", "min": "min",
}  # fmt: skip


class Typed:
    """Turns plain containers into typed, frozen dataclasses and collects what does not fit."""

    def __init__(self, unread: tuple[str, ...] = ()) -> None:
        self.problems: list[str] = []
        self.unread = unread
        """Groups whose options are passed over, because reading their classes imports torch."""

    def build(self, cls: type, values: Mapping[str, Any], path: str = "") -> Any:
        """An instance of dataclass `cls`, or WRONG with the reasons in `problems`."""
        hints = get_type_hints(cls, include_extras=True)
        kept: dict[str, Any] = {}
        for key in values:
            if key not in hints:
                self._problem(
                    _join(path, str(key)), "unknown key" + nearest(str(key), list(hints), path)
                )
        for field in fields(cls):
            where = _join(path, field.name)
            if field.name in values:
                kept[field.name] = self.value(hints[field.name], values[field.name], where)
            elif field.default is MISSING and field.default_factory is MISSING:
                self._problem(where, f"missing; expected {expected(hints[field.name])}")
                kept[field.name] = WRONG
        if any(value is WRONG for value in kept.values()):
            return WRONG
        return cls(**kept)

    def value(self, hint: Any, value: Any, path: str) -> Any:
        """`value` as the type `hint` wants it, or WRONG."""
        before = len(self.problems)
        converted = self._convert(hint, value, path)
        if converted is WRONG and len(self.problems) == before:
            self._problem(path, f"got {show(value)}, expected {expected(hint)}")
        return converted

    def choice(self, group: str, value: Any, path: str) -> Any:
        """A `Choice` of `group` from `{name: ..., **options}`."""
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            self._problem(path, f"got {show(value)}, expected a {group} with a name")
            return WRONG
        if group in self.unread:
            return Choice(value["name"], None)
        try:
            cls = lookup(group, value["name"])
        except UserError as error:
            self._problem(_join(path, "name"), str(error))
            return WRONG
        options = {key: item for key, item in value.items() if key != "name"}
        config = getattr(cls, "Config", None)
        if not (isinstance(config, type) and is_dataclass(config)):
            self._problem(
                _join(path, "name"),
                f"{value['name']} has no dataclass Config, so it is no {group} of dlrun",
            )
            return WRONG
        built = self.build(config, options, path)
        return WRONG if built is WRONG else Choice(value["name"], built)

    def _problem(self, path: str, text: str) -> None:
        self.problems.append(f"{path}: {text}")

    def _convert(self, hint: Any, value: Any, path: str) -> Any:
        origin, arguments = get_origin(hint), get_args(hint)
        if origin is Annotated:
            return self._annotated(arguments[0], arguments[1:], value, path)
        if origin is Literal:
            match = [item for item in arguments if item == value and type(item) is type(value)]
            return match[0] if match else WRONG
        if origin in (Union, types.UnionType):
            return self._union(arguments, value, path)
        if origin is tuple:
            return self._tuple(arguments, value, path)
        if isinstance(hint, type) and is_dataclass(hint):
            return self.build(hint, value, path) if isinstance(value, Mapping) else WRONG
        return _scalar(hint, value)

    def _annotated(self, base: Any, extras: tuple[Any, ...], value: Any, path: str) -> Any:
        for extra in extras:
            if isinstance(extra, Group):
                return self.choice(extra.name, value, path)
            if isinstance(extra, Units):
                duration = parse_duration(value)
                allowed = duration is not None and duration.unit in extra.allowed
                return duration if allowed else WRONG
        converted = self._convert(base, value, path)
        ranges = [extra for extra in extras if isinstance(extra, Range)]
        if converted is not WRONG and not all(extra.holds(converted) for extra in ranges):
            return WRONG
        return converted

    def _union(self, options: tuple[Any, ...], value: Any, path: str) -> Any:
        if value is None:
            return None if type(None) in options else WRONG
        for option in options:
            inner = Typed(self.unread)
            converted = inner._convert(option, value, path)
            if converted is not WRONG:
                return converted
            if isinstance(value, Mapping):  # a section: say what is wrong inside it
                self.problems += inner.problems
        return WRONG

    def _tuple(self, items: tuple[Any, ...], value: Any, path: str) -> Any:
        if not isinstance(value, list | tuple):
            return WRONG
        if len(items) == 2 and items[1] is Ellipsis:
            items = (items[0],) * len(value)
        if len(items) != len(value):
            return WRONG
        inner = [self._convert(item, entry, path) for item, entry in zip(items, value, strict=True)]
        return WRONG if any(entry is WRONG for entry in inner) else tuple(inner)


def _scalar(hint: Any, value: Any) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if float(value) == float(value) else WRONG
    if hint is int and isinstance(value, bool):
        return WRONG
    return value if isinstance(hint, type) and isinstance(value, hint) else WRONG


def parse_duration(value: Any) -> Duration | None:
    """`500`, `'2 epochs'`, `'10%'`, `'30 s'`, `'5 min'` to a Duration; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z%]*)\s*", str(value))
    unit = _DURATION_UNITS.get(match[2]) if match else None
    if match is None or unit is None or float(match[1]) <= 0:
        return None
    if unit == "steps" and not float(match[1]).is_integer():
        return None
    return Duration(float(match[1]), unit)


def expected(hint: Any) -> str:
    """What a person is told about a type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for extra in arguments[1:]:
            if isinstance(extra, Units):
                examples = {
                    "steps": "500 (steps)",
                    "epochs": "2 epochs",
                    "%": "10%",
                    "s": "30 s",
                    "min": "5 min",
                }
                return " or ".join(examples[unit] for unit in extra.allowed)
            if isinstance(extra, Group):
                return f"a {extra.name}"
        bounds = " and ".join(str(extra) for extra in arguments[1:] if isinstance(extra, Range))
        return f"{expected(arguments[0])} {bounds}".strip()
    if origin is Literal:
        return " or ".join(show(item) for item in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(expected(item) for item in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list [...] of which each is {expected(arguments[0])}"
        return "[" + ", ".join(expected(item) for item in arguments) + "]"
    plain = {
        int: "an integer",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "null",
    }
    return plain.get(hint, "a section of keys")


def show(value: Any) -> str:
    """A value as it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    return str(value)


def nearest(key: str, known: list[str], path: str = "") -> str:
    """'. Did you mean ...?', or the list of what there is."""
    match = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if match:
        return f". Did you mean {_join(path, match[0])}?"
    return f"; there are {', '.join(known)}" if known else "; it takes no options"


def flatten(
    tree: Mapping[str, Any], keep: Callable[[str], bool] = lambda _: True
) -> dict[str, Any]:
    """`{'a': {'b': 1}}` to `{'a.b': 1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": item for inner, item in flatten(value).items()}
        else:
            flat[str(key)] = value
    return {key: value for key, value in flat.items() if keep(key)}


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
