"""Values, names and paths as people read and type them."""

import csv
import os
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

_LONGEST_NAME = 100  # in characters; what is longer was no slip of a finger


def csv_writer(file: IO[str]) -> Any:
    """Writes rows that end in a line feed; a cell with any line break is quoted.

    Before Python 3.13 csv quotes a carriage return only where lines end in one.
    """
    lines = SimpleNamespace(write=lambda row: file.write(row.removesuffix("\r\n") + "\n"))
    return csv.writer(lines, lineterminator="\r\n")


def show(value: Any) -> str:
    """A value as it would be typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    return repr(value) if isinstance(value, str) and _needs_quotes(value) else str(value)


def _needs_quotes(text: str) -> bool:
    """Whether it would be read back as something else, or not seen."""
    try:
        float(text)
    except ValueError:
        words = ("", "null", "true", "false")
        return text.lower() in words or text != text.strip() or not text.isprintable()
    return True


def printable(text: str) -> str:
    """`text` in one line for a terminal: line breaks and control characters as escapes."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def echo(value: Any, most: int = 80) -> str:
    """What was typed, for a message: printable, and without its middle where it is long."""
    text = printable(value if isinstance(value, str) and value.strip() else show(value))
    return text if len(text) <= most else f"{text[: most - 20]}…{text[-19:]}"


def suggest(
    given: str,
    known: Iterable[str],
    form: Callable[[str], str] = str,
    listed: str | None = None,
    cutoff: float = 0.6,
) -> str:
    """The end of a message about an unknown name: '. Did you mean x?', or the known names.

    Args:
        given: what was typed.
        known: the known names.
        form: a name as it would be typed here.
        listed: said instead of all the names, where there are many; '' says nothing.
        cutoff: how alike the two must be, in [0, 1].
    """
    import difflib  # for a mistake only

    names, given = list(known), given[:_LONGEST_NAME]
    near = difflib.get_close_matches(given, names, n=1, cutoff=cutoff)
    if near:
        return f". Did you mean {form(near[0])}?"
    if listed is not None:
        return f"; {listed}" if listed else ""
    return f"; expected one of {', '.join(map(form, names))}" if names else ""


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """`{'a': {'b': 1}}` to `{'a.b': 1}`; an empty section stays as it is."""
    flat: dict[str, Any] = {}

    def add(section: Mapping[str, Any], prefix: str) -> None:
        for key, value in section.items():
            if value and isinstance(value, dict):
                add(value, f"{prefix}{key}.")
            else:
                flat[prefix + key] = value

    add(tree, "")
    return flat


def given(value: Any) -> str:
    """What own code gave, for a message: 'a tensor (4, 3)', 'a tuple', '0.5', 'None'."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__.lower()
    if shape is not None:
        return f"a {kind} {tuple(shape)}"
    return repr(value) if isinstance(value, int | float | None) else f"a {kind}"


def some(names: Sequence[str], of: str = "parameters") -> str:
    """'5 parameters (a, b, c ...)'."""
    return f"{len(names)} {of} ({', '.join(names[:3])}{' ...' if len(names) > 3 else ''})"


def letters(count: int) -> list[str]:
    """A, B, ... Z, AA, AB, ..."""
    single = string.ascii_uppercase
    return [*single, *("".join(pair) for pair in product(single, single))][:count]


def short(path: Path | str) -> str:
    """`path` relative to the current folder if it is below it."""
    try:
        return str(Path(path).absolute().relative_to(os.getcwd()))
    except (ValueError, OSError):
        return str(path)


def readable_size(count: float) -> str:
    """Bytes, such as 1.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
