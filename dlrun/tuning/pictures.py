"""A study as PNG: its history or front, and which keys mattered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dlrun.tuning.outcome import history, importances
from dlrun.tuning.study import Study


def write_pictures(study: Study) -> list[Path] | None:
    """Writes what can be drawn into the study's folder; None where there is no matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    written = []
    if study.complete:
        figure = Figure(figsize=(8, 5), layout="constrained")
        if len(study.objectives) == 1:
            _draw_history(figure.add_subplot(), study)
            written.append(_saved(figure, study.folder / "history.png"))
        else:
            _draw_front(figure.add_subplot(), study)
            written.append(_saved(figure, study.folder / "front.png"))
    found = {str(o): importances(study, o) or {} for o in study.objectives}
    if any(found.values()) and len(study.space.parameters) > 1:
        height = 1.2 + 0.4 * len(study.space.parameters) * len(found)
        figure = Figure(figsize=(8, height), layout="constrained")
        _draw_importances(figure.add_subplot(), found)
        written.append(_saved(figure, study.folder / "importance.png"))
    return written


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=150)
    return path


def _draw_history(axes: Any, study: Study) -> None:
    (objective,) = study.objectives
    reached, best = history(study)
    axes.plot(*zip(*reached, strict=True), "o", label="complete")
    pruned = [
        (trial.number, trial.value)
        for trial in study.trials()
        if trial.state == TrialState.PRUNED and trial.value is not None
    ]
    if pruned:
        axes.plot(*zip(*pruned, strict=True), "x", alpha=0.5, label="pruned, the last value")
    axes.step(*zip(*best, strict=True), where="post", label="best so far")
    axes.set(title=str(objective), xlabel="trial", ylabel=objective.title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _draw_front(axes: Any, study: Study) -> None:
    """The first two objectives."""
    complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
    axes.plot(*zip(*(trial.values[:2] for trial in complete), strict=True), "o", label="complete")
    front = [trial.values[:2] for trial in study.ranked()]
    axes.step(*zip(*front, strict=True), "o-", where="post", label="the front")
    first, second, *_ = study.objectives
    axes.set(title="front", xlabel=str(first), ylabel=str(second))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _draw_importances(axes: Any, found: Mapping[str, Mapping[str, float]]) -> None:
    keys = list(reversed(list(next(iter(found.values())))))
    height = 0.8 / len(found)
    for number, (objective, shares) in enumerate(found.items()):
        places = [place + number * height for place in range(len(keys))]
        axes.barh(places, [shares[key] for key in keys], height=height, label=objective)
    axes.set_yticks(range(len(keys)), keys)
    axes.set(title="what mattered (PED-ANOVA)", xlabel="share")
    axes.legend(fontsize="small")
