"""From plain values to dataclasses and back: every mistake is collected, none is raised.

Understands bool, int, float, str, Literal, unions, tuples, nested dataclasses, and from
`dlrun.options` Range, Pattern, Units and Group. Numbers are never guessed from strings.
"""

import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.options import Choice, Duration, Expanded, Group, Pattern, Range, Units
from dlrun.registry import at, lookup, one_line
from dlrun.text import echo, show, suggest

WRONG: Any = object()
"""In place of a value that was not accepted; the reason is among the problems."""
ABSENT = "???"
"""The YAML text of a value that the user must give."""
_DURATIONS = {
    "steps": "500 (steps)", "epochs": "2 epochs", "%": "10%", "s": "30 s", "min": "5 min",
}  # fmt: skip
_PLAIN_TYPES = {
    int: "an integer", float: "a number", str: "text", bool: "true or false", type(None): "null",
}  # fmt: skip


class Typed:
    """Turns plain containers into typed, frozen dataclasses and collects the mistakes."""

    def __init__(
        self,
        problems: Iterable[str] = (),
        last: tuple[str, ...] = (),
        proceed: Callable[[list[str]], bool] = lambda problems: True,
        own_code: bool = True,
        given: Sequence[str] = (),
    ) -> None:
        """Appends its problems to a copy of `problems`.

        Args:
            problems: those that are known already.
            last: fields of the outermost dataclass that are read last, because their classes are
                slow to import.
            proceed: called before the first of these with the problems so far; if it returns
                False, they are not read and `stopped` is set.
            own_code: as of `lookup`.
            given: `key=value` as typed. What Hydra takes for a number or a list, such as
                name=2024, is text where text is expected.
        """
        self.problems: list[str] = list(problems)
        self.last, self.proceed, self.own_code = last, proceed, own_code
        self.given = {key.lstrip("+"): text for key, _, text in (o.partition("=") for o in given)}
        self.stopped = False

    def build(self, cls: type, values: Mapping[str, Any], path: str = "") -> Any:
        """An instance of dataclass `cls`, or WRONG with the reasons in `problems`."""
        hints = self._hints(cls, path)
        if hints is None:
            return WRONG
        for key in values:
            if key not in hints:
                hint = suggest(str(key), hints, partial(_join, path))
                if key in getattr(cls, "no_options", ()):
                    hint = f"; the options of a function stand behind a *, as in (*, {key}: float)"
                self._problem(_join(path, str(key)), f"unknown key{hint}")
        kept: dict[str, Any] = {}
        for field in sorted(fields(cls), key=lambda field: field.name in self.last):
            where = _join(path, field.name)
            if field.name in self.last and not path and not self.proceed(self.problems):
                self.stopped = True
                return WRONG
            if field.name in values and field.init:
                kept[field.name] = self.value(hints[field.name], values[field.name], where)
            elif field.default is MISSING and field.default_factory is MISSING and field.init:
                self._problem(where, f"missing; expected {expected(hints[field.name])}")
                kept[field.name] = WRONG
        if any(value is WRONG for value in kept.values()):
            return WRONG
        try:
            return cls(**kept)
        except Exception as error:  # of __post_init__: values that do not go together
            is_message = isinstance(error, ValueError | UserError)
            self._problem(path or cls.__name__, str(error) if is_message else one_line(error))
            return WRONG

    def _hints(self, cls: type, path: str) -> dict[str, Any] | None:
        """The types of `cls`, or None if its author wrote one that cannot be checked."""
        try:
            hints = get_type_hints(cls, include_extras=True)
        except (NameError, SyntaxError, TypeError, AttributeError) as error:
            self._problem(path or cls.__name__, f"its types cannot be read: {error}{at(cls)}")
            return None
        hints = {field.name: hints[field.name] for field in fields(cls) if field.init}
        foreign = [key for key, hint in hints.items() if not _is_understood(hint)]
        for key in foreign:
            self._problem(
                _join(path, key),
                f"a Config cannot have the type {hints[key]}{at(cls)}; expected bool, int, float, "
                "str, Literal, tuple, a dataclass, a type of dlrun.options, or a union of these",
            )
        return None if foreign else hints

    def value(self, hint: Any, value: Any, path: str) -> Any:
        """`value` converted to the type `hint`, or WRONG."""
        if value == ABSENT:
            refused = [told for told in self.problems if told.startswith(f"{path}=")]
            missing = f"{path}: missing; give {path}=..., expected {expected(hint)}"
            self.problems += refused or [missing]
            return WRONG
        before = len(self.problems)
        converted = self._convert(hint, value, path)
        if converted is not WRONG or len(self.problems) > before:
            return converted
        text, is_text = self.given.get(path), _takes_text(hint)
        if is_text and text is not None and value is not None and "${" not in text:
            converted = self._convert(hint, text, path)
        if converted is WRONG:
            number = isinstance(value, bool | int | float)
            quoted = "; in a YAML file, text like this needs quotes" if is_text and number else ""
            wanted = expected(hint) if not _is_too_large(value) else "a number below 2^63"
            self._problem(path, f"got {echo(show(value))}, expected {wanted}{quoted}")
        return converted

    def choice(self, group: str, value: Any, path: str) -> Any:
        """A `Choice` of `group` from `{name: ..., **options}`."""
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            self._problem(
                path, f"got {show(value)}, expected keys with a name, such as name: my_file:MyClass"
            )
            return WRONG
        try:
            cls = lookup(group, value["name"], self.own_code)
        except UserError as error:
            self._problem(_join(path, "name"), str(error))
            return WRONG
        options = {key: item for key, item in value.items() if key != "name"}
        config = getattr(cls, "Config", None)
        if not (isinstance(config, type) and is_dataclass(config)):
            self._problem(
                _join(path, "name"),
                f"{value['name']}{at(cls)} has no options; expected a dataclass called Config in "
                "this class",
            )
            return WRONG
        built = self.build(config, options, path)
        return WRONG if built is WRONG else Choice(value["name"], built)

    def _problem(self, path: str, text: str) -> None:
        self.problems.append(" ".join(f"{path}: {text}".splitlines()))

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
        if origin in (dict, Mapping):
            return self._mapping(arguments[1], value, path)
        if isinstance(hint, type) and is_dataclass(hint):
            return self.build(hint, value, path) if isinstance(value, Mapping) else WRONG
        return _scalar(hint, value)

    def _annotated(self, base: Any, extras: tuple[Any, ...], value: Any, path: str) -> Any:
        for extra in extras:
            if isinstance(extra, Group):
                return self.choice(extra.name, value, path)
            if isinstance(extra, Units):
                duration = Duration.parse(value)
                allowed = duration is not None and duration.unit in extra.allowed
                return duration if allowed else WRONG
        converted = self._convert(base, value, path)
        for extra in extras:
            # Of a union such as `int | Literal["auto"]`, bounds are for the numbers.
            number = isinstance(extra, Range) and isinstance(converted, int | float)
            text = isinstance(extra, Pattern) and isinstance(converted, str)
            if (number or text) and not extra.holds(converted):
                return WRONG
            if isinstance(extra, Expanded) and isinstance(converted, str):
                converted = expanded(converted)
        return converted

    def _union(self, options: tuple[Any, ...], value: Any, path: str) -> Any:
        if value is None:
            return None if type(None) in options else WRONG
        wrong_inside: list[list[str]] = []
        for option in options:
            inner = Typed(own_code=self.own_code)
            converted = inner._convert(option, value, path)
            if converted is not WRONG:
                return converted
            if inner.problems:
                wrong_inside.append(inner.problems)
        # For a section, report the mistakes of the type that it comes nearest to.
        nearest: list[str] = min(wrong_inside, key=len, default=[])
        self.problems += nearest
        return WRONG

    def _mapping(self, item: Any, value: Any, path: str) -> Any:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return WRONG
        inner = {key: self._convert(item, entry, _join(path, key)) for key, entry in value.items()}
        return WRONG if any(entry is WRONG for entry in inner.values()) else inner

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
        return float(value) if abs(value) <= sys.float_info.max else WRONG  # nor NaN
    if hint is int and (isinstance(value, bool) or _is_too_large(value)):
        return WRONG
    return value if isinstance(hint, type) and isinstance(value, hint) else WRONG


def _is_too_large(value: Any) -> bool:
    """Whether an integer has more than the 64 bits that torch takes."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _is_understood(hint: Any) -> bool:
    """Whether `Typed` can check values against `hint`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        special = {Group: Choice, Units: Duration}
        return any(
            arguments[0] is special.get(type(extra)) for extra in arguments[1:]
        ) or _is_understood(arguments[0])
    if origin in (Union, types.UnionType, tuple, dict, Mapping):
        return all(item is Ellipsis or _is_understood(item) for item in arguments)
    plain = (bool, int, float, str, dict, type(None), Any)
    section = isinstance(hint, type) and is_dataclass(hint) and hint not in (Choice, Duration)
    return origin is Literal or section or hint in plain


def _takes_text(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _takes_text(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return any(_takes_text(item) for item in get_args(hint))
    return hint is str


def expected(hint: Any) -> str:
    """How a message describes a type, such as 'an integer >= 1 or null'."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for extra in arguments[1:]:
            if isinstance(extra, Units):
                return " or ".join(_DURATIONS[unit] for unit in extra.allowed)
            if isinstance(extra, Group):
                return f"a {extra.name}"
        bounds = " and ".join(str(x) for x in arguments[1:] if isinstance(x, Range | Pattern))
        return f"{expected(arguments[0])} {bounds}".strip()
    if origin is Literal:
        return " or ".join(show(item) for item in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(expected(item) for item in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list [...], each {expected(arguments[0])}"
        return "[" + ", ".join(expected(item) for item in arguments) + "]"
    return _PLAIN_TYPES.get(hint, "a section of keys")


def to_plain_types(value: Any) -> Any:
    """A typed config as plain values, which YAML and a checkpoint can hold."""
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


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
