"""What a study has found: its best trials, the command of one, and which keys mattered."""

import shlex
import warnings
from collections.abc import Sequence
from functools import partial

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from dlrun.files import read_json
from dlrun.runs.curves import Curve
from dlrun.runs.folder import RunFolder
from dlrun.runs.statistics import spread
from dlrun.tuning.objective import Objective
from dlrun.tuning.study import Study

ENOUGH = 10
"""Complete trials below which importances are mostly chance."""


def command(study: Study, trial: FrozenTrial, config_dir: str | None = None) -> str:
    """What trains such a run anew, to the same number, quoted for a shell.

    The study's own name is left out: it is that of its folder.
    """
    given = [text for text in study.space.overrides(trial.params) if not text.startswith("name=")]
    own = ["--config-dir", config_dir] if config_dir else []
    return shlex.join(["dlrun", "train", *own, *given, *_threads(study, trial)])


def _threads(study: Study, trial: FrozenTrial) -> list[str]:
    """The share that the trial had of the machine's, where its config leaves their number open.

    Sums depend on it, and so may the number that is promised.
    """
    run = RunFolder(study.folder / trial.user_attrs["run"])
    had = read_json(run.path / "job.json").get("threads")
    if had is None or not run.config.exists():  # trained elsewhere, or deleted since
        return []
    return [f"hardware.threads={had}"] if run.read_config()["hardware"]["threads"] == "auto" else []


def importances(study: Study, objective: Objective) -> dict[str, float] | None:
    """How much each key had to do with the best tenth, between 0 and 1, the largest first.

    PED-ANOVA (Watanabe, Bansal, Hutter, 2023) over the complete trials: it needs nothing besides
    NumPy, where fANOVA needs scikit-learn. None where there are fewer than ENOUGH.
    """
    if study.complete < ENOUGH:
        return None
    place = list(study.objectives).index(objective)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_param_importances(
            study.optuna,
            evaluator=PedAnovaImportanceEvaluator(),
            target=partial(_loss, place, -1.0 if objective.maximize else 1.0),
        )


def _loss(place: int, sign: float, trial: FrozenTrial) -> float:
    return sign * float(trial.values[place])


def history(study: Study) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """By the trial's number: what each complete trial has reached, and the best so far."""
    (objective,) = study.objectives
    reached = [
        (trial.number, float(trial.values[0]))
        for trial in study.trials()
        if trial.state == TrialState.COMPLETE
    ]
    best: list[tuple[int, float]] = []
    for number, value in reached:
        improved = not best or objective.better(value, best[-1][1])
        best.append((number, value if improved else best[-1][1]))
    return reached, best


def as_curve(label: str, points: Sequence[tuple[int, float]]) -> Curve:
    """For the terminal."""
    steps, values = [number for number, _ in points], [spread([value]) for _, value in points]
    return Curve(label, steps, [0.0] * len(steps), values, 1)
