"""`dlrun train --help`: the groups, their options and every key, read from conf/ itself."""

import re
import shutil
import textwrap
from dataclasses import fields
from typing import Any

from dlrun.config.compose import Composer, compose_plain, composer, packaged
from dlrun.config.schema import TrainConfig
from dlrun.files import load_yaml, text_of
from dlrun.text import flatten, show

# The order of the groups; a group that is no field, recipe, comes last.
_ORDER = [field.name for field in fields(TrainConfig)]


def train_help(overrides: list[str], config_dir: str | None) -> str:
    """Groups, options and keys, for the groups that `overrides` choose."""
    with composer(config_dir) as own:
        plain = compose_plain(overrides, config_dir)
        chosen = own.choices(overrides)
        lines = ["Groups:"]
        for group in sorted(own.options, key=_rank):
            for number, option in enumerate(own.options[group]):
                mark = "*" if chosen.get(group) == option else " "
                head = f"  {group if number == 0 else '':<10} {mark} {option:<18} "
                lines += _wrapped(head, _summary(_text(own, group, option)))
        for key, option in chosen.items():
            group, _, package = key.partition("@")
            if package not in ("", "_global_", "_here_") and "/" not in group:
                lines += _wrapped(f"  {key}={option} ", f"a further {group}, chosen as {group} is")
        keys = flatten(plain | _primary("sweep", "tune"))
        title = "Config keys of the selected options (*):"
        lines += ["", title, *_key_lines(keys, comments(own, chosen))]
    return "\n".join(lines)


def section_help(*sections: str) -> list[str]:
    """The keys of some sections of the primary config, each with its value and its comment."""
    return _key_lines(flatten(_primary(*sections)), _primary_comments())


def _primary(*sections: str) -> dict[str, Any]:
    plain = load_yaml(packaged() / "train.yaml")
    return {name: plain[name] for name in sections}


def _key_lines(keys: dict[str, Any], comments: dict[str, str]) -> list[str]:
    lines = []
    for key in sorted(keys, key=lambda key: _rank(key.partition(".")[0]) if "." in key else -1):
        if not key.endswith(".name"):  # the class of the chosen option
            # A second view has the options of the first.
            comment = comments.get(key) or comments.get(key.replace(".second.", ".first."), "")
            lines += _wrapped(f"{f'  {key}={show(keys[key])}':<43}  ", comment)
    return lines


def _rank(group: str) -> int:
    return _ORDER.index(group) if group in _ORDER else len(_ORDER)


def _wrapped(head: str, text: str) -> list[str]:
    width = min(110, max(80, shutil.get_terminal_size((100, 24)).columns))
    lines = textwrap.wrap(text, width, initial_indent=head, subsequent_indent=" " * len(head))
    return lines or [head.rstrip()]


def _text(own: Composer, group: str, option: str) -> str:
    path = own.file_of(group, option)
    return text_of(path) if path.is_file() else ""


def _summary(text: str) -> str:
    """The first comment that is no directive of Hydra's."""
    comments = re.findall(r"^#(?!.*@package)[# ]*(.*)", text, flags=re.MULTILINE)
    return comments[0] if comments else ""


def comments(own: Composer, chosen: dict[str, str]) -> dict[str, str]:
    """`key: value  # comment` of every chosen file, by the key's full name."""
    found = _primary_comments()
    for group, option in chosen.items():
        if "/" in group or option == "None":
            continue
        group, _, package = group.partition("@")
        text = _text(own, group, option)
        prefix = "" if "@package _global_" in text else f"{package or group}."
        for parent in re.findall(r"^\s*- (\w+)$", text, flags=re.MULTILINE):
            if parent != "_self_":
                found |= _comments_in(_text(own, group, parent), prefix)
        found |= _comments_in(text, prefix)
    return found


def _primary_comments() -> dict[str, str]:
    return _comments_in((packaged() / "train.yaml").read_text(encoding="utf-8"), "")


def _comments_in(text: str, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []  # indents and names of the sections around a line
    for indent, key, comment in re.findall(
        r"^( *)(\w+):[^#\n]*(?:# *(.*))?$", text, flags=re.MULTILINE
    ):
        parents = [parent for parent in parents if parent[0] < len(indent)]
        if comment:
            found[prefix + ".".join([*(name for _, name in parents), key])] = comment
        parents.append((len(indent), key))
    return found
