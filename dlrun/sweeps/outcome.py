"""What `dlrun tune` prints and draws at the end of a study."""

import shlex
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from dlrun.files import read_json
from dlrun.runs.folder import RunFolder
from dlrun.sweeps.objective import Objective
from dlrun.sweeps.plan import Job
from dlrun.sweeps.study import Study
from dlrun.sweeps.trials import counts
from dlrun.sweeps.view import listed

if TYPE_CHECKING:
    from rich.console import Console

ENOUGH = 10
"""Completed trials below which importances are mostly chance."""
_SHOWN = 10  # trials of the table
_BAR = 30  # characters
_WIDE = 250  # characters, where there is no terminal


def report_study(
    study: Study, jobs: Sequence[Job], console: "Console", config_dir: str | None
) -> None:
    """The best trials, how all ended, which keys mattered, pictures, and the best command.

    Args:
        study: as it is now.
        jobs: the trials of this process.
        console: prints.
        config_dir: as typed; the command needs it too.
    """
    if not console.is_terminal:  # a file has no edge
        console.width = _WIDE

    def say(*lines: str) -> None:
        for line in lines:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    ranked = study.ranked()
    several = len(study.objectives) > 1
    if ranked:
        console.print(_table(study, ranked if several else ranked[:_SHOWN]))
    found = counts(study, jobs)
    say(f"{found.total()} trials: {listed(found)}", *_not_completed(study, jobs))
    shares = importances(study)
    say(*_what_mattered(study, shares))
    pictures = draw_study(study, shares)
    if pictures:
        say(f"pictures: {', '.join(map(str, pictures))}")
    elif pictures is None:
        say("pictures of the study need pip install 'dlrun[plot]'")
    for trial in ranked if several else ranked[:1]:
        numbers = ", ".join(
            f"{objective.title} {value:.4g}"
            for objective, value in zip(study.objectives, trial.values, strict=True)
        )
        say(f"{'front' if several else 'best'}: trial {trial.number}, {numbers}")
        say(f"  {command(study, trial, config_dir)}")
    if not ranked:
        pruned = "; with tune.pruner=none every trial is completed" if found["pruned"] else ""
        say(f"no trial is completed, so none is best{pruned}")


def command(study: Study, trial: FrozenTrial, config_dir: str | None = None) -> str:
    """The command that trains such a run again, to the same number, quoted for a shell.

    The study's own name, which is that of its folder, is left out.
    """
    overrides = [o for o in study.space.overrides(trial.params) if not o.startswith("name=")]
    own_configs = ["--config-dir", config_dir] if config_dir else []
    return shlex.join(["dlrun", "train", *own_configs, *overrides, *_threads(study, trial)])


def _threads(study: Study, trial: FrozenTrial) -> list[str]:
    """The threads that the trial had, if its config leaves their number open: sums depend on it."""
    run = RunFolder(study.folder / trial.user_attrs["run"])
    threads = read_json(run.path / "job.json").get("threads")
    if threads is None or not run.config.exists():  # trained elsewhere, or deleted since
        return []
    open_number = run.read_config()["hardware"]["threads"] == "auto"
    return [f"hardware.threads={threads}"] if open_number else []


def importances(study: Study) -> dict[str, dict[str, float]]:
    """By objective, how much each key had to do with the best tenth, in [0, 1], largest first.

    PED-ANOVA (Watanabe, Bansal, Hutter, 2023) over the completed trials: it needs nothing besides
    NumPy, where fANOVA needs scikit-learn. Empty where there are fewer than ENOUGH, or one key.
    """
    if len(study.complete()) < ENOUGH or len(study.space.parameters) < 2:
        return {}

    def loss(index: int, objective: Objective, trial: FrozenTrial) -> float:
        return float(trial.values[index]) * (-1 if objective.maximize else 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            str(objective): get_param_importances(
                study.optuna,
                evaluator=PedAnovaImportanceEvaluator(),
                target=partial(loss, index, objective),
            )
            for index, objective in enumerate(study.objectives)
        }


def _what_mattered(study: Study, shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Bars of how much each key mattered."""
    complete = len(study.complete())
    if not shares and len(study.space.parameters) > 1:
        return [f"too few trials to say which keys mattered: {complete} completed, {ENOUGH} needed"]
    lines = []
    for objective, by_key in shares.items():
        lines.append(f"what mattered for {objective} (PED-ANOVA over {complete} completed trials):")
        width = max(map(len, by_key))
        lines += [
            f"  {key:<{width}} {'█' * round(share * _BAR):<{_BAR}} {share:.2f}"
            for key, share in by_key.items()
        ]
    return lines


def _not_completed(study: Study, jobs: Sequence[Job]) -> list[str]:
    """Each trial that failed or was interrupted, why, and how to continue."""
    lines = []
    failed = [trial for trial in study.trials() if trial.state == TrialState.FAIL]
    for trial in failed:
        run = f"  ({study.folder / trial.user_attrs['run']})" if "run" in trial.user_attrs else ""
        label, reason = study.space.label(trial.params), trial.user_attrs.get("reason", "")
        lines.append(f"trial {trial.number} failed: {label}: {reason}{run}")
    if failed:
        lines.append("  the same command with sweep.retry=failed tries them again")
    interrupted = [job for job in jobs if job.state == "interrupted"]
    for job in interrupted:
        lines.append(f"trial {job.number} interrupted: {job.label}: {job.reason}  ({job.folder})")
    if interrupted:
        lines.append("  the same command resumes them")
    return lines


def _table(study: Study, trials: Sequence[FrozenTrial]) -> Table:
    front = "the front: no trial is better in one without being worse in another"
    title = f"{front if len(study.objectives) > 1 else 'best trials'}; runs in {study.folder}"
    table = Table(title=title, title_justify="left")
    table.add_column("trial", justify="right")
    for objective in study.objectives:
        table.add_column(str(objective), justify="right")
    for name in (*study.space.distributions, "run"):
        table.add_column(name, overflow="fold")
    for trial in trials:
        params = [part.short(trial.params[part.key]) for part in study.space.parameters]
        numbers = [f"{value:.4g}" for value in trial.values]
        cells = (str(trial.number), *numbers, *params, trial.user_attrs["run"])
        table.add_row(*map(Text, cells))
    return table


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
