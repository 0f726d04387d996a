"""What a study optimizes: a metric of the val split or a cost of a run, never of the test split."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from dlrun.errors import UserError
from dlrun.evaluation.metrics import METRICS, find
from dlrun.options import Metric
from dlrun.runs.folder import RunFolder
from dlrun.runs.run import Run
from dlrun.sweeps.plan import Evaluations, Job
from dlrun.text import suggest

_COSTS = {"seconds": False, "images_per_second": True, "peak_memory_bytes": False}
"""Numbers in summary.json, and whether more is better."""


@dataclass(frozen=True)
class Objective:
    """One number of a run."""

    name: str
    maximize: bool

    @property
    def of_val(self) -> bool:
        """Whether it is measured on val again and again, and not once at the end."""
        return self.name not in _COSTS

    @property
    def title(self) -> str:
        """'val accuracy', 'seconds'."""
        return f"val {self.name}" if self.of_val else self.name

    def __str__(self) -> str:
        return f"{self.title} {'↑' if self.maximize else '↓'}"


def read_objectives(
    given: Sequence[str] | str | None,
    key_metrics: set[str | None],
    own: Mapping[str, Metric] = MappingProxyType({}),
) -> tuple[list[Objective], list[str]]:
    """The objectives, and everything that is wrong with them.

    Args:
        given: `tune.objective`; None is the key metric.
        key_metrics: of the methods that are tried.
        own: the metrics that these methods describe themselves.
    """
    if given is None:
        names = sorted(str(name) for name in key_metrics)
        if len(names) > 1 or None in key_metrics:
            what = "the methods have different metrics: " + ", ".join(names)
            if key_metrics == {None}:
                what = "the method has no metric that chooses the best epoch"
            known = [name for name in (*own, *names) if name != "None"]
            example = f", such as tune.objective={known[0]}" if known else " of val"
            return [], [f"tune.objective: {what}; name one{example}"]
        given = names
    found: list[Objective] = []
    problems: list[str] = []
    for text in [given] if isinstance(given, str) else given:
        try:
            objective = _objective(text, own)
            if objective.name in [other.name for other in found]:
                raise ValueError("given twice")
            found.append(objective)
        except ValueError as error:
            problems.append(f"tune.objective: {text}: {error}")
    if not found and not problems:
        problems.append("tune.objective: an empty list; expected a name, or null")
    return found, problems


def _objective(text: str, own: Mapping[str, Metric]) -> Objective:
    """Raises ValueError for a text that names none."""
    direction, colon, rest = text.partition(":")
    name = (rest if colon else text).removeprefix("val/").removeprefix("val.")
    if name.startswith("test"):
        raise ValueError("the test split must not choose anything; expected a metric of val")
    if colon:
        if direction not in ("min", "max") or not name:
            raise ValueError("expected NAME, min:NAME or max:NAME")
        return Objective(name, direction == "max")
    if name in _COSTS:
        return Objective(name, _COSTS[name])
    metric = find(name, own)
    if metric is None:
        near = suggest(name, [*own, *METRICS, *_COSTS], listed="no such metric is known")
        raise ValueError(f"unknown{near} For a metric of your own give min:{name} or max:{name}")
    if metric.higher_is_better is None:
        raise ValueError(f"neither direction is better; give min:{name} or max:{name}")
    return Objective(name, metric.higher_is_better)


def values(folder: RunFolder, objectives: Sequence[Objective]) -> list[float]:
    """Of a completed run: at the checkpoint that val chose, and what the run cost.

    Raises:
        ValueError: one is not finite.
    """
    run = Run(folder.path)
    best, measured = run.best.get("step"), Evaluations(folder.metrics).look()
    chosen = [numbers for step, numbers in measured if step == best]
    found = []
    for objective in objectives:
        value = (chosen[-1] if objective.of_val and chosen else run.summary).get(objective.name)
        if value is None or not math.isfinite(value):
            raise ValueError(f"{objective.title} is {value}")
        found.append(float(value))
    return found


def demand_measured(job: Job, objectives: Sequence[Objective]) -> None:
    """Raises UserError where a run that was evaluated does not measure one of them on val."""
    names = {name for _, numbers in job.evaluations.look() for name in numbers}
    for objective in objectives:
        if objective.of_val and objective.name not in names:
            measured = f"it measures {', '.join(sorted(names))}" if names else "its split is empty"
            raise UserError(
                f"tune.objective: {objective.name}: {job.folder} does not measure it on val; "
                f"{measured}"
            )
