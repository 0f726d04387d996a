"""Pictures of a study: its history or front, and which keys mattered."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from dlrun.sweeps.study import Study


def draw_study(study: Study, importances: Mapping[str, Mapping[str, float]]) -> list[Path] | None:
    """Writes PNGs into the study's folder; None where there is no matplotlib.

    Args:
        study: as it is now.
        importances: of each key, by objective.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    written = []

    def save(name: str, draw: Any, height: float, what: Any) -> None:
        figure = Figure(figsize=(8, height), layout="constrained")
        draw(figure.add_subplot(), what)
        figure.savefig(study.folder / name, dpi=150)
        written.append(study.folder / name)

    if study.complete() and len(study.objectives) == 1:
        save("history.png", _draw_history, 5, study)
    elif study.complete():
        save("front.png", _draw_front, 5, study)
    if importances:
        bars = len(study.space.parameters) * len(importances)
        save("importance.png", _draw_importances, 1.2 + 0.4 * bars, importances)
    return written


def _draw_history(axes: Any, study: Study) -> None:
    (objective,) = study.objectives
    reached = [(trial.number, trial.values[0]) for trial in study.complete()]
    best: list[tuple[int, float]] = []
    for number, value in reached:
        improved = not best or objective.better(value, best[-1][1])
        best.append((number, value if improved else best[-1][1]))
    axes.plot(*zip(*reached, strict=True), "o", label="completed")
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
    complete = [trial.values[:2] for trial in study.complete()]
    axes.plot(*zip(*complete, strict=True), "o", label="completed")
    front = [trial.values[:2] for trial in study.ranked()]
    axes.step(*zip(*front, strict=True), "o-", where="post", label="the front")
    first, second, *_ = study.objectives
    axes.set(title="front", xlabel=str(first), ylabel=str(second))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _draw_importances(axes: Any, importances: Mapping[str, Mapping[str, float]]) -> None:
    keys = list(reversed(list(next(iter(importances.values())))))
    height = 0.8 / len(importances)
    for number, (objective, shares) in enumerate(importances.items()):
        positions = [position + number * height for position in range(len(keys))]
        axes.barh(positions, [shares[key] for key in keys], height=height, label=objective)
    axes.set_yticks(range(len(keys)), keys)
    axes.set(title="what mattered (PED-ANOVA)", xlabel="share")
    axes.legend(fontsize="small")
