"""What makes two runs the same experiment."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from dlrun.files import load_yaml

# The folder and name of a run, and how it logs, are no part of what it computes.
_NOT_PART = ("outputs", "data_dir", "name", "log_every", "checkpoint_every", "logger")


def computes(key: str) -> bool:
    """Whether a key, such as `optimizer.lr`, changes what a run computes."""
    return key.partition(".")[0] not in _NOT_PART


def is_place(key: str) -> bool:
    """Whether a key says where something lies, such as `dataset.root`."""
    section, _, inner = key.partition(".")
    named = inner.rpartition(".")[2] in ("root", "path")
    return key in ("outputs", "data_dir") or (section == "dataset" and named)


def signature(plain: dict[str, Any]) -> str:
    """Eight hexadecimal digits of a run's config, however it was written.

    A value is left out if it is the default, the one that all of dlrun's own configs agree on: a
    new key with the same default everywhere does not change the signatures of earlier runs.
    """
    part = _changed({key: item for key, item in plain.items() if computes(key)}, _defaults()[0])
    text = json.dumps(part, sort_keys=True, separators=(",", ":"))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()[:8]


def _changed(section: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from `defaults`, with the name of each class that was chosen."""
    kept: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            name = value.get("name")
            below = _defaults()[1].get(name) if isinstance(name, str) else defaults.get(key)
            if inner := _changed(value, below if isinstance(below, Mapping) else {}):
                kept[key] = inner
        elif key == "name" or key not in defaults or not _same(value, defaults[key]):
            kept[key] = value
    return kept


def _same(a: Any, b: Any) -> bool:
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)  # 1 and true differ


@cache
def _defaults() -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the primary config and of groups such as hardware; of the options of each class."""
    conf = Path(str(files("dlrun.conf")))
    groups, classes = defaultdict(list), defaultdict(list)
    for path in sorted(conf.glob("*/*.yaml")):
        group, content = path.parent.name, load_yaml(path)
        own = content.get(group) if isinstance(content.get(group), dict) else content
        own.pop("defaults", None)
        groups[group].append(own)
        classes[own.get("name")].append(own)
    by_group, by_class = (
        {name: _agreed(options) for name, options in found.items()} for found in (groups, classes)
    )
    return load_yaml(conf / "train.yaml") | by_group, by_class


def _agreed(options: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each key that has one and the same value wherever it is given."""
    found: dict[str, Any] = {}
    for key in {key for option in options for key in option}:
        values = [option[key] for option in options if key in option]
        if all(isinstance(value, Mapping) for value in values):
            found[key] = _agreed(values)
        elif all(_same(value, values[0]) for value in values):
            found[key] = values[0]
    return found
