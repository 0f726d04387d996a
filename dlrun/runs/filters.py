"""`method=byol`, `optimizer.lr<0.01`, `status=failed,interrupted`: which runs are meant."""

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from dlrun.errors import UserError
from dlrun.runs.run import STATES, Run
from dlrun.text import echo, show, suggest

_FORM = re.compile(r"(?P<key>[\w.@/:\[\]-]+?)(?P<sign><=|>=|!=|==|=|<|>)(?P<value>.*)", re.DOTALL)
_OWN_CLASS = re.compile(r"([\w.]+):\w+")
_ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class NothingSelected(UserError):
    """What was asked for exists, but no run fits; says why.

    Args:
        text: of the message.
        among: the runs that were looked at.
    """

    def __init__(self, text: str, among: "Sequence[Run]" = ()) -> None:
        self.among = among
        super().__init__(text)


@dataclass(frozen=True)
class Filter:
    """One condition; `text` is how it was typed."""

    key: str
    sign: str
    value: str
    text: str

    def holds(self, values: dict[str, Any]) -> bool:
        """Whether a run with these values is meant; one that lacks the key never is."""
        if self.key not in values:
            return False
        own: Any = values[self.key]
        if self.sign in ("=", "!="):
            alternatives = re.split(r",(?![^\[]*\])", self.value)  # not inside of [3,4]
            among = any(_same(own, wanted) for wanted in alternatives)
            return among == (self.sign == "=")
        return _is_number(own) and _ORDER[self.sign](float(own), float(self.value))


def parse_filter(text: str) -> Filter | None:
    """The condition that was typed; None of what is not one, as a run or a folder.

    Raises:
        UserError: it does not make sense.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    key, sign, value = match["key"].replace("/", "."), match["sign"], match["value"]
    sign = "=" if sign == "==" else sign
    if sign in _ORDER and _number(value) is None:
        raise UserError(f"{echo(text)}: {sign} compares numbers; got {echo(show(value))}")
    unknown = [state for state in value.split(",") if state not in STATES and "*" not in state]
    if key == "status" and unknown:
        hint = suggest(unknown[0], STATES, form="status={}".format)
        raise UserError(f"status={echo(unknown[0])}: no such status{hint}")
    return Filter(key, sign, value, text)


def filtered(runs: Sequence[Run], filters: Sequence[Filter]) -> list[Run]:
    """The runs for which every filter holds.

    Raises:
        UserError: a key that no run has.
        NothingSelected: there is none, with the values that there are of the first key that fits
            no run.
    """
    if not filters:
        return list(runs)
    rows = [run.values() for run in runs]
    known = {key for values in rows for key in values}
    for one in filters:
        if one.key not in known:
            hint = _suggest_key(one.key, known, one.text[len(one.key) :])
            raise UserError(f"{echo(one.text)}: no run has {echo(one.key)}{hint}")
    found = [
        run for run, values in zip(runs, rows, strict=True) if all(f.holds(values) for f in filters)
    ]
    if found:
        return found
    for one in filters:
        if not any(one.holds(values) for values in rows):
            there = sorted({show(values[one.key]) for values in rows if one.key in values})
            shown = ", ".join([*there[:8], *(["..."] if len(there) > 8 else [])])
            raise NothingSelected(f"no run with {echo(one.text)}; {one.key} is {shown}", runs)
    given = " and ".join(echo(one.text) for one in filters)
    raise NothingSelected(f"no run with {given} at once", runs)


def sort_runs(runs: Sequence[Run], key: str, reverse: bool = False) -> list[Run]:
    """`runs` by a value, numbers before words; those without it are last either way.

    Raises:
        UserError: no run has it.
    """
    name = key.replace("/", ".")
    rows = [(run, run.values()) for run in runs]
    known = {name for _, values in rows for name in values}
    if rows and name not in known:
        raise UserError(f"--sort {echo(key)}: no run has {echo(name)}{_suggest_key(name, known)}")
    with_it = [(run, values[name]) for run, values in rows if values.get(name) is not None]
    without = [run for run, values in rows if values.get(name) is None]
    with_it.sort(key=lambda pair: _rank(pair[1]), reverse=reverse)
    return [run for run, _ in with_it] + without


def _rank(value: Any) -> tuple[int, float, str]:
    if _is_number(value) and value == value:
        return (0, float(value), "")
    return (1, 0.0, show(value))


def _same(own: Any, wanted: str) -> bool:
    if _is_number(own):
        return bool(_number(wanted) == own)
    if isinstance(own, str):
        named = _OWN_CLASS.fullmatch(own)  # method=mae means mae:MAE too
        return fnmatchcase(own, wanted) or (named is not None and fnmatchcase(named[1], wanted))
    return show(own).replace(" ", "") == wanted.replace(" ", "")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _suggest_key(key: str, known: set[str], rest: str = "") -> str:
    """`lr` is the end of optimizer.lr, or else close to another key."""
    ends = [name for name in sorted(known) if name.rpartition(".")[2] == key]
    listed = "keys are those of config.yaml, and status, run, done, seconds, val.best, test.METRIC"
    return suggest(ends[0] if ends else key, known, lambda name: f"{name}{rest}", listed)
