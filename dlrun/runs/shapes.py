"""What the files of a run hold: whoever reads one of another's may rely on it."""

from collections.abc import Mapping
from typing import Any

from dlrun.text import printable

_LARGEST = 2**63
_LONGEST_KEY = 60  # characters that are shown

# A dict has these keys, optional where they end in `?`, and `*` for all others that it may have; a
# list has entries of one shape; a tuple is one of several.
NUMBER, COUNT, TEXT = "a number", "a whole number", "text"
_NUMBERS = {"*": NUMBER}
_PART = {"name": TEXT, "*": None}

CONFIG = {
    "method": _PART, "dataset?": _PART, "model?": _PART, "loss?": _PART, "optimizer?": {"*": None},
    "schedule?": {"*": None}, "hardware?": {"*": None}, "augment?": {"*": None},
    "bias?": {"*": None}, "logger?": {"*": _PART}, "groups?": ([TEXT], "null"), "seed?": COUNT,
    "epochs?": COUNT, "outputs?": TEXT, "name?": (TEXT, "null"), "data_dir?": (TEXT, "null"),
    "*": None,
}  # fmt: skip
STATUS = {
    "state": TEXT, "step": COUNT, "total": COUNT, "started": NUMBER, "heartbeat": NUMBER,
    "pid": COUNT, "host": TEXT, "reason?": TEXT,
}  # fmt: skip
ROW = {"step": COUNT, "time": NUMBER, "*": NUMBER}
PROVENANCE = {
    "run?": TEXT, "dlrun?": TEXT, "python?": TEXT, "packages?": {"*": (TEXT, "null")},
    "platform?": TEXT, "processor?": TEXT, "hardware?": TEXT, "working_folder?": TEXT,
    "data?": {
        "checksum": (TEXT, "null"), "classes?": [TEXT], "columns?": {"*": [TEXT]},
        "images?": {"*": COUNT},
    },
    "length?": {"total": COUNT, "epoch": COUNT}, "git?": ({"commit": TEXT, "diff": TEXT}, "null"),
    "own_code?": {"*": TEXT}, "resumed?": [{"*": None}],
}  # fmt: skip
_METRIC = {
    "wording": TEXT, "higher_is_better?": ("true or false", "null"), "form?": TEXT, "unit?": TEXT,
    "trivial?": TEXT,
}  # fmt: skip
_NETWORK = {
    "last": (NUMBER, "null"), "best": (NUMBER, "null"), "parameters?": COUNT,
    "images_per_second?": NUMBER,
}  # fmt: skip
WHOLE_SUMMARY = {
    "method": TEXT, "dataset": TEXT, "seed": COUNT, "steps": COUNT, "seconds": NUMBER,
    "test_seconds": NUMBER, "images_per_second": (NUMBER, "null"),
    "peak_memory_bytes": (NUMBER, "null"), "key_metric": (TEXT, "null"),
    "metrics?": {"*": _METRIC}, "best": {"step": COUNT, "val": (NUMBER, "null")},
    "warnings": [TEXT], "networks": ({"*": _NETWORK}, "null"), "compared": {"*": _NUMBERS},
    "generates?": ("true or false", "null"), "positive?": (TEXT, "null"),
    "test": {"trivial": _NUMBERS, "untrained": _NUMBERS, "last": _NUMBERS, "best": _NUMBERS},
    "*": None,
}  # fmt: skip
SUMMARY = {key if key[-1] in "*?" else f"{key}?": shape for key, shape in WHOLE_SUMMARY.items()} | {
    "best?": {"step?": COUNT, "val?": (NUMBER, "null"), "*": None}, "test?": {"*": _NUMBERS},
}  # fmt: skip
"""Also of a run that has less of it."""
_FACTS = {
    "data": {"*": None}, "pixels": TEXT, "parts": {"*": TEXT}, "step": COUNT, "val": _NUMBERS,
    "val_step": (COUNT, "null"),
}  # fmt: skip
_INPUT = _FACTS | {
    "config": {"method": _PART, "model": _PART, "dataset": {"*": None}},
    "shapes": {"*": [COUNT]}, "is_file?": "true or false",
}  # fmt: skip
CHECKPOINT = _FACTS | {
    "config": CONFIG | {"dataset": _PART, "model": _PART}, "inputs": {"*": _INPUT},
    "rows?": COUNT, "seconds?": NUMBER,
    "best_value?": (NUMBER, "null"), "best_step?": (COUNT, "null"), "warnings?": [TEXT],
    "first?": _NUMBERS, "absurd?": {"*": COUNT},
    "run?": (TEXT, "null"), "pending?": [{"*": None}], "provenance?": {"*": None},
    "scaler?": {"*": None}, "optimizers?": {"*": {"state": None, "param_groups": [{"*": None}]}},
    "method": {"*": None}, "*": None,
}  # fmt: skip
"""Beside the values of its tensors; of one that only starts another run less may be there."""


def misfit(value: Any, shape: Any, name: str = "") -> str | None:
    """Where `value` is not of `shape`, in words; None where it is."""
    if isinstance(shape, tuple):
        found = [misfit(value, one, name) for one in shape]
        return None if None in found else found[0]
    if isinstance(shape, dict):
        return _misfit_of_keys(value, shape, name)
    if isinstance(shape, list):
        if not isinstance(value, list | tuple):
            return f"{name}: expected a list"
        inner = (misfit(item, shape[0], name) for item in value)
        return next((wrong for wrong in inner if wrong), None)
    return None if shape is None or _is(value, shape) else f"{name}: expected {shape}"


def _misfit_of_keys(value: Any, shape: Mapping[str, Any], name: str) -> str | None:
    if not isinstance(value, dict):
        return f"{name or 'the file'}: expected keys with values"
    prefix = f"{name}." if name else ""
    for key, inner in shape.items():
        bare = key.rstrip("?")
        if bare in value and key != "*":
            if wrong := misfit(value[bare], inner, f"{prefix}{bare}"):
                return wrong
        elif key not in ("*", f"{bare}?"):
            return f"{prefix}{key} is missing"
    for key, item in value.items():
        if key not in shape and f"{key}?" not in shape:
            if not isinstance(key, str):
                return f"{name or 'the file'}: a key is no text"
            here = f"{prefix}{printable(key[:_LONGEST_KEY])}"
            if "*" not in shape:
                return f"{here} is unknown"
            if wrong := misfit(item, shape["*"], here):
                return wrong
    return None


def _is(value: Any, what: str) -> bool:
    is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    if what == COUNT:
        return is_whole and value >= 0
    if what == NUMBER:
        return is_whole or isinstance(value, float)
    kinds: dict[str, type] = {TEXT: str, "true or false": bool, "null": type(None)}
    return isinstance(value, kinds[what])
