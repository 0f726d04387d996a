"""HTML by small functions: whatever is text is escaped, whatever is `Safe` was made here."""

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any


class Safe(str):
    """Markup, as opposed to text."""

    __slots__ = ()


def text(value: object) -> Safe:
    """Escaped, unless it is markup already."""
    return value if isinstance(value, Safe) else Safe(html.escape(str(value)))


def tag(name: str, /, *content: object, **attributes: object) -> Safe:
    """An element; `class_` is class, `data_step` is data-step; True alone, None and False not."""
    given = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            given.append(f" {key}")
        elif value is not None and value is not False:
            given.append(f' {key}="{html.escape(str(value))}"')
    inside = "".join(text(part) for part in content if part is not None)
    closing = "" if name in ("img", "input", "br") else f"{inside}</{name}>"
    return Safe(f"<{name}{''.join(given)}>{closing}")


def join(parts: Iterable[object]) -> Safe:
    """One after the other."""
    return Safe("".join(text(part) for part in parts))


def section(heading: str, *content: object, id_: str) -> Safe:
    """A part of the page that the menu leads to; nothing where it would be empty."""
    inside = join(part for part in content if part is not None)
    if not inside:
        return Safe("")
    return tag("section", tag("h2", heading, id=f"{id_}-title"), inside, id=id_,
               aria_labelledby=f"{id_}-title")  # fmt: skip


def details(summary: str, *content: object, open_: bool = False) -> Safe:
    """What opens when it is wanted, and in print."""
    return tag("details", tag("summary", summary), *content, open=open_)


def table(
    caption: str,
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    sortable: bool = False,
    numbers_from: int = 1,
) -> Safe:
    """A table that scrolls sideways by itself where the screen is narrow.

    The first cell of a row is its heading; columns from `numbers_from` on are set flush right.
    """

    def cell(name: str, index: int, content: object) -> Safe:
        kind = "number" if index >= numbers_from else None
        scope = {"td": None, "th": "row"}.get(name) if name != "col" else "col"
        return tag("th" if name == "col" else name, content, scope=scope, class_=kind)

    headings = join(cell("col", index, content) for index, content in enumerate(head))
    body = join(
        tag("tr", *(cell("td" if i else "th", i, content) for i, content in enumerate(row)))
        for row in rows
    )
    inside = tag(
        "table", tag("caption", caption), tag("thead", tag("tr", headings)), tag("tbody", body),
        class_="sortable" if sortable else None,
    )  # fmt: skip
    return tag("div", inside, class_="wide", tabindex=0, role="region", aria_label=caption)


def pairs(rows: Iterable[tuple[object, object]]) -> Safe:
    """Names and what they are, as a list."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", what)) for name, what in rows))


def json_for_script(content: Any) -> Safe:
    """For a script element of type application/json: no text in it can end the element."""
    plain = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Safe(plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
