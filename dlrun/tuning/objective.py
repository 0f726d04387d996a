"""What a study looks for: metrics of the val split, and what a run costs. Never the test split."""

import difflib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.evaluation.metrics import METRICS, describe, find
from dlrun.files import read_json
from dlrun.runs.folder import RunFolder

_COSTS = {"seconds": False, "images_per_second": True, "peak_memory_bytes": False}
"""Of summary.json, and whether more is better."""
_OF_MADE_IMAGES = ("kid", "fid", "taken")
"""Made images are held against the test split, whoever judges them."""


@dataclass(frozen=True)
class Objective:
    """One number of a run."""

    name: str
    maximize: bool

    @property
    def of_val(self) -> bool:
        """Whether it is measured again and again on val, and not once at the end."""
        return self.name not in _COSTS

    @property
    def title(self) -> str:
        """'val accuracy', 'seconds'."""
        return f"val {self.name}" if self.of_val else self.name

    def better(self, value: float, than: float) -> bool:
        """Whether `value` is an improvement."""
        return value > than if self.maximize else value < than

    def __str__(self) -> str:
        return f"{self.title} {'↑' if self.maximize else '↓'}"


def read_objectives(
    asked: Sequence[str] | str | None, key_metrics: set[str | None]
) -> tuple[list[Objective], list[str]]:
    """What is looked for, and everything that is wrong with it.

    Args:
        asked: `tune.objective`.
        key_metrics: of the methods that are tried.
    """
    if asked is None:
        return _of_method(key_metrics)
    found: list[Objective] = []
    problems: list[str] = []
    for text in [asked] if isinstance(asked, str) else asked:
        try:
            objective = _objective(text)
            if objective.name in [other.name for other in found]:
                raise ValueError("given twice")
            found.append(objective)
        except ValueError as error:
            problems.append(f"tune.objective: {text}: {error}")
    if not found and not problems:
        problems.append("tune.objective: an empty list; expected a name, or null")
    return found, problems


def _of_method(key_metrics: set[str | None]) -> tuple[list[Objective], list[str]]:
    names = sorted(str(name) for name in key_metrics)
    if len(names) == 1 and None not in key_metrics:
        return [Objective(names[0], describe(names[0]).higher_is_better is True)], []
    what = "the methods that are tried measure " + ", ".join(names)
    if key_metrics == {None}:
        what = "the method has no metric of its own that chooses the best epoch"
    return [], [f"tune.objective: {what}; name one, such as tune.objective=reconstruction_error"]


def _objective(text: str) -> Objective:
    """Raises ValueError where it is none."""
    way, colon, rest = text.partition(":")
    name = (rest if colon else text).removeprefix("val/").removeprefix("val.")
    if name.startswith("test"):
        raise ValueError("the test split chooses nothing; expected a metric of val")
    if name.partition("[")[0] in _OF_MADE_IMAGES:
        raise ValueError(
            "made images are judged beside those of the test split, which chooses nothing; "
            "expected a metric of val"
        )
    if colon:
        if way not in ("min", "max") or not name:
            raise ValueError("expected NAME, min:NAME or max:NAME")
        return Objective(name, way == "max")
    if name in _COSTS:
        return Objective(name, _COSTS[name])
    known = find(name)
    if known is None:
        near = difflib.get_close_matches(name, [*METRICS, *_COSTS], n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{meant}Of a metric of your own say min:{name} or max:{name}")
    if known.higher_is_better is None:
        raise ValueError(f"neither way is better; say min:{name} or max:{name}")
    return Objective(name, known.higher_is_better)


@dataclass(frozen=True)
class Evaluation:
    """The numbers of val at one step, without `val/`."""

    step: int
    numbers: dict[str, float]


def evaluations(folder: RunFolder) -> list[Evaluation]:
    """All that a run has logged, in order."""
    try:
        lines = folder.metrics.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        if '"val/' not in line:  # most are of train, and this is looked at all the time
            continue
        try:
            row = json.loads(line)
        except ValueError:  # being written
            break
        numbers = {key[4:]: value for key, value in row.items() if key.startswith("val/")}
        found.append(Evaluation(int(row["step"]), numbers))
    return found


def values(folder: RunFolder, objectives: Sequence[Objective]) -> list[float]:
    """Of a complete run: of the checkpoint that val chose, and what the run cost.

    Raises:
        ValueError: one is not finite.
    """
    summary: dict[str, Any] = read_json(folder.summary)
    best = summary.get("best", {}).get("step")
    chosen = [row.numbers for row in evaluations(folder) if row.step == best]
    found = []
    for objective in objectives:
        value = (chosen[-1] if objective.of_val and chosen else summary).get(objective.name)
        if value is None or not math.isfinite(value):
            raise ValueError(f"{objective.title} is {value}")
        found.append(float(value))
    return found


def lacking(folder: RunFolder, objectives: Sequence[Objective]) -> str:
    """The line about an objective that a run does not measure; '' where it has all of them.

    To be asked once the run has been evaluated.
    """
    names = {name for row in evaluations(folder) for name in row.numbers}
    absent = [o.name for o in objectives if o.of_val and o.name not in names]
    if not absent:
        return ""
    there = f"there are {', '.join(sorted(names))}" if names else "its val split is empty"
    return f"tune.objective: {absent[0]}: {folder} does not measure it on val; {there}"
