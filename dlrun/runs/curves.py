"""A metric over training, the seeds of a config taken together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlrun.errors import UserError
from dlrun.runs.groups import SeedGroup, labelled
from dlrun.runs.run import Run
from dlrun.runs.statistics import Spread, spread
from dlrun.text import letters, suggest


@dataclass(frozen=True)
class Curve:
    """The mean over the runs of a group at each step that all of them have, and their spread."""

    label: str
    steps: list[int]
    """Optimizer steps."""
    seconds: list[float]
    """Of training: the mean over the runs."""
    values: list[Spread]
    """Finite."""
    n: int
    """Runs."""

    def x(self, over: str) -> Sequence[float]:
        """Where its points are: over seconds, or over whatever `steps` are."""
        return self.seconds if over == "seconds" else self.steps

    @property
    def mean(self) -> list[float]:
        """At each point."""
        return [value.mean for value in self.values]

    def band(self, side: int) -> list[float]:
        """The edge one standard deviation above (1) or below (-1) the mean."""
        return [value.mean + side * (value.std or 0.0) for value in self.values]


def curve(group: SeedGroup, metric: str) -> Curve:
    """One metric of one group; without a step where no run has it.

    It is of the complete runs, as every number of a group, or of all runs where none is complete. A
    step that one of these runs lacks, or at which its value is not finite, is left out, since the
    mean would jump where a run drops out.

    Args:
        group: as `by_seed` gives it.
        metric: as in metrics.jsonl, such as val/accuracy.
    """
    runs = [run.history[metric] for run in _drawn(group) if metric in run.history]
    shared = set.intersection(*map(set, runs)) if runs else set[int]()
    steps = [step for step in sorted(shared) if all(math.isfinite(run[step][1]) for run in runs)]
    return Curve(
        "",
        steps,
        [math.fsum(run[step][0] for run in runs) / len(runs) for step in steps],
        [spread([run[step][1] for run in runs]) for step in steps],
        len(runs),
    )


def _drawn(group: SeedGroup) -> Sequence[Run]:
    return group.complete or group.runs


def metrics_logged(groups: Sequence[SeedGroup]) -> list[str]:
    """The metrics that have curves, such as val/accuracy."""
    runs = [run for group in groups for run in _drawn(group)]
    return list(dict.fromkeys(name for run in runs for name in run.history))


def curves(groups: Sequence[SeedGroup], metric: str) -> list[Curve]:
    """One curve for each group that has the metric at a step of all its runs.

    Args:
        groups: as `by_seed` gives them.
        metric: as in metrics.jsonl, such as val/accuracy.

    Raises:
        UserError: no run has logged it.
    """
    names = metrics_logged(groups)
    if metric not in names:
        ends = [name for name in names if name.endswith(f"/{metric}")]
        shown = ", ".join(sorted(name for name in names if name.count("/") < 2))
        listed = f"there are {shown}" if shown else "there are no metrics yet"
        hint = suggest(ends[0] if ends else metric, names, listed=listed)
        raise UserError(f"--metric {metric}: no run has it{hint}")
    drawn = []
    for letter, group in zip(letters(len(groups)), labelled(groups), strict=True):
        found = curve(group, metric)
        if found.steps:
            drawn.append(replace(found, label=f"{letter} {group.label} (n={found.n})"))
    if not drawn:
        raise UserError(f"--metric {metric}: no step at which all seeds of a config have it")
    return drawn


def key_metric(groups: Sequence[SeedGroup]) -> str:
    """What is drawn unless another is asked for: val of the key metric that most runs have.

    Raises:
        UserError: there is none.
    """
    keys = [group.key_metric for group in groups for _ in group.complete if group.key_metric]
    if not keys:
        what = "has a key metric" if any(g.complete for g in groups) else "is complete"
        names = metrics_logged(groups)
        raise UserError(
            f"none of these runs {what}; choose with --metric: {', '.join(names) or 'none yet'}"
        )
    return f"val/{max(keys, key=keys.count)}"
