"""One argument of a command line, `key=value`, read and set on a composed config.

Hydra's grammar decides what a value means. What it cannot read, such as a path with a letter that
it does not know, is text as it stands; the types say whether text is expected there.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Override,
    Quote,
    QuotedString,
    RangeSweep,
)
from hydra.errors import HydraException
from omegaconf import OmegaConf

from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.text import echo, flatten, show, suggest

MOST_JOBS = 10_000
"""Of a sweep."""
_LONGEST = 4096  # characters of an argument, as of a path; Hydra needs a second for a longer list
_MOST_BRACKETS = 100  # more is text; Hydra would call itself for each
_SWEEPS = {
    "choice": "choice(a,b,...) with at least one value",
    "range": "range(start,stop[,step]) with numbers",
    "interval": "interval(low,high) with two numbers",
    "glob": "glob(pattern), such as glob(resnet*)",
}
_CALL = re.compile(rf"(?:\w+\()*(?:\w+,)*({'|'.join(_SWEEPS)})\([^()]*\)+")
_BRACKETS = re.compile(
    r"(\[|(?:choice|glob|shuffle|sort|tag|str|json_str)\()(.*)([\])])", re.DOTALL
)
_TOKEN = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[\[({]|[\])}]|,|.""", re.DOTALL)
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
    "imgsz": "dataset.size", "image_size": "dataset.size", "img_size": "dataset.size",
    "gpus": "hardware.devices", "num_gpus": "hardware.devices", "n_gpus": "hardware.devices",
    "pretrained": "model.init_from", "weights": "model.init_from",
    "resume": "dlrun resume RUN", "ckpt_path": "dlrun resume RUN",
    "project": "outputs", "save_dir": "outputs", "experiment": "name", "exp_name": "name",
    "accumulate_grad_batches": "accumulate", "gradient_accumulation_steps": "accumulate",
    "early_stopping": "patience", "grad_clip": "optimizer.clip_norm",
    "gradient_clip_val": "optimizer.clip_norm", "lr_scheduler": "schedule",
}  # fmt: skip


def joined(texts: Sequence[str]) -> list[str]:
    """With `epochs = 3`, which the shell passes as three arguments, as one."""
    if "=" not in texts:
        return list(texts)
    at = list(texts).index("=")
    before, after = texts[: max(0, at - 1)], texts[at + 2 :]
    return [*before, " ".join(texts[max(0, at - 1) : at + 2]), *after]


def repeated(texts: Sequence[str]) -> list[str]:
    """A line for each key that is given more than once."""
    values = dict(text.partition("=")[::2] for text in texts)
    counts = Counter(text.partition("=")[0] for text in texts)
    return [
        f"{echo(key)} is given {count} times; {echo(f'{key}={values[key]}')} counts"
        for key, count in counts.items()
        if count > 1
    ]


def read(text: str, groups: Mapping[str, Collection[str]], sweep: bool = False) -> Override | str:
    """The override that `text` is, or the line about what is wrong with it.

    Args:
        text: as typed.
        groups: the config groups and their options.
        sweep: whether a comma may separate several values.
    """
    key, equals, value = text.partition("=")
    if not text.strip():
        return "'': an empty argument; expected key=value, such as epochs=5"
    if len(text) > _LONGEST:
        return f"{echo(text)}: {len(text):,} characters; expected at most {_LONGEST:,}"
    if (equals and key != key.strip()) or not key:
        return f"{echo(text)}: expected key=value without spaces around =, such as epochs=5"
    if not equals and not key.startswith("~"):
        near = " or ".join(f"{group}={text}" for group in groups if text in groups[group])
        hint = f". Did you mean {near}?" if near else ", such as epochs=5"
        return f"{echo(text)}: expected key=value{hint}"
    if not _is_path(value, sweep) and len(re.findall(r"[\[({]", value)) <= _MOST_BRACKETS:
        if (override := _parsed(text)) is not None:
            return override
        override = _parsed(f"{key}={_readable(value)}")
        called = _CALL.fullmatch(value)
        if called and not (override and override.is_sweep_override()):
            return f"{echo(text)}: not understood; expected {_SWEEPS[called[1]]}"
        if override is not None:
            return override
    return _parsed(f"{key}={_quoted(value)}") or (
        f"{echo(key)}: unknown key; dlrun train --help lists them"
    )


def _is_path(value: str, sweep: bool) -> bool:
    """Whether it exists, though Hydra would take it apart."""
    special = re.search(r"""[\[\](){}='"\\]|,""", value) is not None
    return special and not (sweep and "," in value) and os.path.exists(expanded(value))


def _parsed(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, ValueError, RecursionError):  # ValueError: too many digits
        return None
    except AttributeError:
        if __debug__:
            raise
        raise UserError(  # Hydra reads a bracket in an assert
            f"{echo(text)}: Hydra cannot read this under python -O; unset PYTHONOPTIMIZE"
        ) from None


def _quoted(value: str) -> str:
    quoted: str = QuotedString(value, Quote.single).with_quotes()
    return quoted


def _readable(value: str) -> str:
    """`value` with those of its parts in quotes that Hydra cannot read, as in [Äpfel,Birnen]."""
    if len(parts := _parts(value)) > 1:
        return ",".join(map(_readable, parts))
    if inside := _BRACKETS.fullmatch(value):
        return f"{inside[1]}{_readable(inside[2])}{inside[3]}"
    return value if _parsed(f"_={value}") else _quoted(value)


def _parts(value: str) -> list[str]:
    """`value` cut at its commas, but not at those within brackets or quotes."""
    parts, depth = [""], 0
    for token in _TOKEN.findall(value):
        depth += (token in "[({") - (token in "])}")
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return parts


def count_of(override: Override) -> float:
    """How many values a sweep over one key has; 1 for an interval or a pattern."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        return len(value.list)
    if not isinstance(value, RangeSweep):
        return 1
    start, stop, step = (float(x) for x in (value.start or 0, value.stop or 0, value.step))
    return max(0, math.ceil(min((stop - start) / step, 1e300))) if step else math.inf


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
    if override.is_add() and exists(tree, key):
        return f"{echo(text)}: this key exists; give {echo(text[1:])}"
    inner = flatten(value) if isinstance(value, dict) else ()
    for name in () if added else (key, *(f"{key}.{name}" for name in inner)):
        if not exists(tree, name):
            return f"{echo(name)}: unknown key{_suggest_key(name, tree, groups)}"
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


def _suggest_key(key: str, plain: dict[str, Any], groups: Collection[str]) -> str:
    """The end of a line about an unknown `key`: the nearest in `plain`, or all of its section."""
    if key in _OTHER_NAMES:
        return f". Did you mean {_OTHER_NAMES[key]}?"
    section, _, last = key.rpartition(".")
    parent = _select(plain, section)
    if not isinstance(parent, dict) and exists(plain, section):
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


def exists(plain: dict[str, Any], key: str) -> bool:
    """Whether a key such as optimizer.lr is in `plain`."""
    section, _, last = key.rpartition(".")
    parent = _select(plain, section)
    return isinstance(parent, dict) and last in parent
