"""What `dlrun tune` prints at the end."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from dlrun.sweeps.plan import Job
from dlrun.sweeps.view import listed
from dlrun.tuning.outcome import ENOUGH, as_curve, command, history, importances
from dlrun.tuning.pictures import write_pictures
from dlrun.tuning.study import Study
from dlrun.tuning.trials import counts
from dlrun.views.braille import print_curves

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = 10  # trials of the table
_BAR = 30  # characters
_WIDE = 250  # characters, where there is no terminal
_HEIGHT = 10  # lines of the history


def tell(study: Study, jobs: Sequence[Job], console: "Console", config_dir: str | None) -> None:
    """The best trials, how all ended, which keys mattered, pictures, and the best command.

    Args:
        study: as it stands.
        jobs: the trials of this process.
        console: where to.
        config_dir: as typed, which the command needs too.
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
    say(f"{found.total()} trials: {listed(found)}", *_not_in_order(study, jobs))
    say(*_mattered(study))
    _pictures(study, console)
    for trial in ranked if several else ranked[:1]:
        figures = ", ".join(
            f"{objective.title} {value:.4g}"
            for objective, value in zip(study.objectives, trial.values, strict=True)
        )
        say(f"{'front' if several else 'best'}: trial {trial.number}, {figures}")
        say(f"  {command(study, trial, config_dir)}")
    if not ranked:
        free = "; tune.pruner=none lets each come to its end" if found["pruned"] else ""
        say(f"no trial is complete, so none is best{free}")


def _not_in_order(study: Study, jobs: Sequence[Job]) -> list[str]:
    """Each trial that failed or was cut off, why, and what goes on with them."""
    cut_off = [job for job in jobs if job.state == "interrupted"]
    lines = []
    failed = [trial for trial in study.trials() if trial.state == TrialState.FAIL]
    for trial in failed:
        drawn = all(part.key in trial.params for part in study.space.parameters)
        label = study.space.label(trial.params) if drawn else "not drawn"
        run = f"  ({study.folder / trial.user_attrs['run']})" if "run" in trial.user_attrs else ""
        reason = trial.user_attrs.get("reason", "")
        lines.append(f"trial {trial.number} failed: {label}: {reason}{run}")
    if failed:
        lines.append("  with sweep.retry=failed the same command tries them again")
    for job in cut_off:
        lines.append(f"trial {job.number} interrupted: {job.label}: {job.reason}  ({job.folder})")
    if cut_off:
        lines.append("  the same command goes on with them")
    return lines


def _table(study: Study, trials: Sequence[FrozenTrial]) -> Table:
    several = len(study.objectives) > 1
    front = "the front: no trial is better in one without being worse in another"
    title = f"{front if several else 'best trials'}; runs of {study.folder}"
    table = Table(title=title, title_justify="left")
    table.add_column("trial", justify="right")
    for objective in study.objectives:
        table.add_column(str(objective), justify="right")
    for parameter in study.space.parameters:
        table.add_column(parameter.key, overflow="fold")
    table.add_column("run", overflow="fold")
    for trial in trials:
        drawn = [part.short(trial.params[part.key]) for part in study.space.parameters]
        figures = [f"{value:.4g}" for value in trial.values]
        run = trial.user_attrs["run"]
        table.add_row(*map(Text, (str(trial.number), *figures, *drawn, run)))
    return table


def _mattered(study: Study) -> list[str]:
    """Bars of how much each key mattered."""
    if len(study.space.parameters) < 2:
        return []
    if study.complete < ENOUGH:
        return [
            f"too few trials to say which keys mattered: {study.complete} complete, {ENOUGH} needed"
        ]
    lines = []
    for objective in study.objectives:
        shares: Mapping[str, float] = importances(study, objective) or {}
        lines.append(
            f"what mattered for {objective.title} "
            f"(PED-ANOVA over {study.complete} complete trials):"
        )
        width = max(map(len, shares))
        lines += [
            f"  {key:<{width}} {'█' * round(share * _BAR):<{_BAR}} {share:.2f}"
            for key, share in shares.items()
        ]
    return lines


def _pictures(study: Study, console: "Console") -> None:
    """As files, or else the history in the terminal."""
    written = write_pictures(study)
    if written:
        console.print(f"pictures: {', '.join(map(str, written))}", highlight=False, markup=False)
    if written is None and len(study.objectives) == 1 and study.complete > 1:
        reached, best = history(study)
        title = f"{study.objectives[0]} (as files: pip install 'dlrun[plot]')"
        curves = [as_curve("of the trial", reached), as_curve("best so far", best)]
        print_curves(curves, title, "trial", _HEIGHT, console)
