"""What `dlrun tune` prints and draws at the end of a study."""

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from dlrun.files import read_json
from dlrun.runs.curves import Curve
from dlrun.runs.folder import RunFolder
from dlrun.runs.statistics import spread
from dlrun.sweeps.objective import Objective
from dlrun.sweeps.plan import Job
from dlrun.sweeps.study import Study
from dlrun.sweeps.trials import counts
from dlrun.sweeps.view import listed
from dlrun.views.curves import print_curves

if TYPE_CHECKING:
    from dlrun.console import Console

ENOUGH = 10
"""Completed trials below which importances are mostly chance."""
_SHOWN = 10  # trials of the table
_BAR = 30  # characters
_HEIGHT = 10  # lines of the history


def report_study(
    study: Study, jobs: Sequence[Job], console: "Console", config_dir: str | None
) -> None:
    """The best trials, how all ended, which keys mattered, pictures, and the best command.

    `jobs` are the trials of this process; the command needs `config_dir` as it was typed.
    """
    say = partial(console.say, wrap=False)
    ranked = study.ranked()
    several = len(study.objectives) > 1
    if ranked:
        console.print(_table(study, ranked if several else ranked[:_SHOWN]))
    found = counts(study, jobs)
    say(f"{found.total()} trials: {listed(found)}", *_not_completed(study, jobs))
    shares = importances(study)
    say(*_what_mattered(study, shares))
    if ranked and find_spec("matplotlib") is not None:
        say(f"pictures: {', '.join(map(str, draw_study(study)))}")
    elif not several and len(study.complete()) > 1:
        title = f"{study.objectives[0]} (as pictures: pip install 'dlrun[plot]')"
        print_curves(history(study), title, "trial", _HEIGHT, console)
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

    PED-ANOVA (Watanabe, Bansal, Hutter, 2023) over the completed trials: it needs only
    NumPy, where fANOVA needs scikit-learn. Empty where there are fewer than ENOUGH, or one key.
    """
    if len(study.complete()) < ENOUGH or len(study.space.parameters) < 2:
        return {}
    ped_anova = PedAnovaImportanceEvaluator()
    return {
        str(objective): get_param_importances(
            study.optuna, evaluator=ped_anova, target=partial(_loss, index, objective)
        )
        for index, objective in enumerate(study.objectives)
    }


def _loss(index: int, objective: Objective, trial: FrozenTrial) -> float:
    """For PED-ANOVA lower is better."""
    return float(trial.values[index]) * (-1 if objective.maximize else 1)


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


def history(study: Study) -> list[Curve]:
    """What each completed trial has reached and the best so far, over the trials' numbers."""
    better = max if study.objectives[0].maximize else min
    numbers = [trial.number for trial in study.complete()]
    reached = [float(trial.values[0]) for trial in study.complete()]
    best = list(accumulate(reached, better))
    return [
        Curve(label, numbers, [], [spread([value]) for value in curve], 1)
        for label, curve in (("of the trial", reached), ("best so far", best))
    ]


def draw_study(study: Study) -> list[Path]:
    """Optuna's pictures of the history or the front, and of importances, in the study's folder."""
    import matplotlib
    from optuna.visualization import matplotlib as optuna_pictures

    matplotlib.use("Agg")  # draws into files
    titles = [str(objective) for objective in study.objectives]
    axes: dict[str, Any] = {}
    if len(titles) == 1:
        history = optuna_pictures.plot_optimization_history(study.optuna, target_name=titles[0])
        axes["history.png"] = history
    else:  # of two objectives, as a plane has
        axes["front.png"] = optuna_pictures.plot_pareto_front(
            study.optuna, target_names=titles[:2], targets=lambda trial: trial.values[:2]
        )
    for index, objective in enumerate(study.objectives if importances(study) else ()):
        axes[f"importance-{objective.name.replace('/', '-')}.png"] = (
            optuna_pictures.plot_param_importances(
                study.optuna,
                PedAnovaImportanceEvaluator(),
                target=partial(_loss, index, objective),
                target_name=str(objective),
            )
        )
    for name, drawn in axes.items():
        drawn.figure.savefig(study.folder / name, dpi=150, bbox_inches="tight")
    return [study.folder / name for name in axes]
