"""What somebody meant who typed a key or an option that there is not."""

import difflib
from collections.abc import Collection
from typing import Any

from dlrun.text import flatten, show

# What people type who come from other tools, where no spelling is near enough to guess from.
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


def meant(key: str, plain: dict[str, Any], groups: Collection[str]) -> str:
    """The end of a line about an unknown `key`: the nearest in `plain`, or what there is."""
    if key in _OTHER_NAMES:
        return f". Did you mean {_OTHER_NAMES[key]}?"
    section, _, last = key.rpartition(".")
    parent = _select(plain, section) if section else plain
    if not isinstance(parent, dict) and exists(plain, section):
        return f"; {section} is {show(parent)}, no section of keys"
    keys = [name for name in (*flatten(plain), *groups) if not name.endswith(".name")]
    inside = [str(name) for name in parent if name != "name"] if section and parent else []
    near = _near(last, {name: f"{section}.{name}" for name in inside})
    if not inside:  # the section itself may be misspelt
        near = _near(key, {name: name for name in keys})
    near = near or _near(last, {name.rpartition(".")[2]: name for name in reversed(keys)})
    if near:
        return f". Did you mean {near}?"
    return f"; there are {', '.join(inside)}" if inside else "; `dlrun train --help` lists them"


def no_option(key: str, given: str, options: Collection[str]) -> str:
    """The line about an option that the group of `key` does not have."""
    group = key.partition("@")[0]
    near = difflib.get_close_matches(given, options, n=1, cutoff=0.6)
    meant = f" Did you mean {key}={near[0]}?" if near else ""
    there = f"There are {', '.join(options)}" if options else "There is none"
    return f"{key}={given}: no such {group}.{meant} {there}"


def _select(plain: dict[str, Any], key: str) -> Any:
    node: Any = plain
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def exists(plain: dict[str, Any], key: str) -> bool:
    """Whether `plain` has `key`, which may be 'a.b.c'."""
    section, _, last = key.rpartition(".")
    parent = _select(plain, section) if section else plain
    return isinstance(parent, dict) and last in parent


def _near(given: str, names: dict[str, str]) -> str | None:
    """What the nearest of `names` stands for."""
    match = difflib.get_close_matches(given, names, n=1, cutoff=0.7)
    return names[match[0]] if match else None
