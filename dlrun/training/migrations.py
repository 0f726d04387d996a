"""Checkpoints of older formats, brought up to this one: a function for each format that was."""

from collections.abc import Callable
from typing import Any

Content = dict[str, Any]

FORMAT = 2
"""Of the checkpoints that are written. 2: sealed, and says which program wrote it."""


def _from_1(content: Content) -> Content:
    """Had neither a seal nor its provenance, and at first no evaluation."""
    written = {"dlrun": content.pop("dlrun", None)}
    return {"val": {}, "val_step": None, "warnings": [], "provenance": written, **content}


_FROM: dict[int, Callable[[Content], Content]] = {1: _from_1}


def migrated(content: Content) -> Content:
    """`content`, of any format up to this one, as this one has it."""
    content = dict(content)
    for number in range(content["format"], FORMAT):
        content = _FROM[number](content) | {"format": number + 1}
    return content
