"""The study: Optuna's ask and tell over a journal file that processes and machines share.

What is drawn is a function of `tune.seed`, the trial's number and the trials before it, so a
study that was cut off goes on as if it had not been.
"""

import socket
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    GridSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from dlrun.config.schema import TuneConfig
from dlrun.errors import UserError
from dlrun.files import exclusive
from dlrun.tuning.objective import Objective
from dlrun.tuning.space import Space

JOURNAL = "study.journal"
_GENERATION = 20  # trials of one generation of NSGA-II; with Optuna's 50, 40 trials are all random
_FRESH = 5.0  # seconds in which whoever has asked for a trial begins it
_FRESH_ELSEWHERE = 60.0  # the same on another machine, whose locks may not be seen


class Study:
    """One study, as one of the processes that work on it sees it.

    Args:
        folder: where its journal lies.
        space: what is searched.
        objectives: what is looked for; several give a front.
        asked: the section `tune`.
        described: what makes it the same study, in lines.

    Raises:
        UserError: the folder has a study of something else.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        objectives: Sequence[Objective],
        asked: TuneConfig,
        described: list[str],
    ) -> None:
        self.folder, self.space, self.objectives, self.asked = folder, space, objectives, asked
        self._lock = folder / ".lock"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", ExperimentalWarning)
        folder.mkdir(parents=True, exist_ok=True)
        journal = folder / JOURNAL
        mend(journal)
        with exclusive(self._lock):
            self._storage = JournalStorage(JournalFileBackend(str(journal)))
            self.optuna = optuna.create_study(
                storage=self._storage,
                study_name=folder.name,
                sampler=RandomSampler(),  # one of its own draws each trial
                pruner=pruner(self.pruner),
                directions=["maximize" if o.maximize else "minimize" for o in objectives],
                load_if_exists=True,
            )
            _demand_same(self.optuna, folder, described)
        self._id = self._storage.get_study_id_from_name(folder.name)

    @property
    def pruner(self) -> str:
        """Which stops trials early: none where there are several objectives."""
        if self.asked.pruner == "auto":
            return "median" if len(self.objectives) == 1 and self.objectives[0].of_val else "none"
        return self.asked.pruner

    @property
    def total(self) -> int:
        """How many trials are wanted; a grid ends with its last point."""
        size = self.space.size if self.asked.sampler == "grid" else None
        return self.asked.trials if size is None else min(self.asked.trials, size)

    def trials(self) -> list[FrozenTrial]:
        """All of them as they stand in the journal, without those that were tried again."""
        trials = self.optuna.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("again") for trial in trials}
        return [trial for trial in trials if trial.number not in again]

    def trial(self, number: int) -> FrozenTrial:
        """One of them."""
        return self._storage.get_trial(self._trial_id(number))

    def ranked(self) -> list[FrozenTrial]:
        """The complete trials, best first; of several objectives, those of the front.

        Of trials that drew the same values, and so share a run, the first.
        """
        trials = self.trials()
        if len(self.objectives) > 1:
            trials = self.optuna.best_trials
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        sign = -1 if self.objectives[0].maximize else 1
        by_run: dict[str, FrozenTrial] = {}
        for trial in sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number)):
            by_run.setdefault(trial.user_attrs.get("run", str(trial.number)), trial)
        return list(by_run.values())

    @property
    def complete(self) -> int:
        """How many trials came to their end."""
        return sum(trial.state == TrialState.COMPLETE for trial in self.trials())

    def keep_run(self, number: int, run: str) -> None:
        """The name of a trial's folder, for whoever reads the journal."""
        if self.trial(number).user_attrs.get("run") != run:
            self._storage.set_trial_user_attr(self._trial_id(number), "run", run)

    def next(self, known: Collection[int], more: bool) -> tuple[FrozenTrial | None, bool]:
        """A trial to work on: one that was begun and is not known yet, or a new one.

        Args:
            known: numbers of those that this process has already.
            more: whether new ones are wanted.

        Returns:
            The trial, or None, and whether there may be one later.
        """
        with exclusive(self._lock):
            trials = self.trials()
            begun = [
                trial
                for trial in trials
                if trial.state == TrialState.RUNNING and trial.number not in known
            ]
            for trial in begun:
                if not _is_fresh(trial):
                    if not self._is_drawn(trial):  # whoever asked for it ended just then
                        begun_trial = partial(Trial, self.optuna, self._trial_id(trial.number))
                        self._draw(trial.number, begun_trial)
                    return self.trial(trial.number), True
            asked = sum(trial.state != TrialState.WAITING for trial in trials)
            if not more or asked >= self.total:
                return None, bool(begun)
            number = self._draw(len(self.optuna.get_trials(deepcopy=False)), self.optuna.ask)
            return self.trial(number), True

    def _draw(self, number: int, ask: Callable[[], Trial]) -> int:
        sampler_before = self.optuna.sampler
        self.optuna.sampler = sampler(self.asked, self.space, number)
        try:
            trial = ask()
            trial.set_user_attr("host", socket.gethostname())
            for parameter in self.space.parameters:
                parameter.draw(trial)
        finally:
            # A grid's own would want to stop Optuna's loop at its end, which there is none of.
            self.optuna.sampler = sampler_before
        return trial.number

    def _is_drawn(self, trial: FrozenTrial) -> bool:
        return all(parameter.key in trial.params for parameter in self.space.parameters)

    def try_again(self) -> None:
        """Puts the trials that failed so far in line once more."""
        with exclusive(self._lock):
            for trial in self.trials():
                if trial.state == TrialState.FAIL and self._is_drawn(trial):
                    self.optuna.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def report(self, number: int, place: int, value: float) -> None:
        """What a trial has measured at its first evaluation on val, its second, and so on.

        The number of the evaluation is what trials of different batch sizes have in common.
        """
        self._storage.set_trial_intermediate_value(self._trial_id(number), place, value)

    def prunes(self, number: int) -> bool:
        """Whether the trial is to be stopped, by what was reported last."""
        return bool(self.optuna.pruner.prune(self.optuna, self.trial(number)))

    def tell(
        self, number: int, state: TrialState, values: list[float] | None = None, reason: str = ""
    ) -> None:
        """How a trial has ended; of two processes that know it the first is heard."""
        with exclusive(self._lock):
            if reason and not self.trial(number).state.is_finished():
                self._storage.set_trial_user_attr(self._trial_id(number), "reason", reason)
            self.optuna.tell(number, values, state, skip_if_finished=True)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def sampler(asked: TuneConfig, space: Space, number: int) -> BaseSampler:
    """What draws the trial of that number: a function of the two and of the trials before."""
    if asked.sampler == "grid":
        grid = space.grid()
        assert grid is not None
        return GridSampler(grid, seed=asked.seed)
    seed = int(np.random.SeedSequence([asked.seed, number]).generate_state(1)[0])
    if asked.sampler == "random":
        return RandomSampler(seed=seed)
    if asked.sampler == "nsga2":
        return NSGAIISampler(seed=seed, population_size=_GENERATION)
    return TPESampler(seed=seed, constant_liar=True)


def pruner(name: str) -> BasePruner:
    """Optuna's, whose resource is the number of evaluations on val."""
    if name == "median":
        return MedianPruner()
    return HyperbandPruner() if name == "hyperband" else NopPruner()


def mend(journal: Path) -> None:
    """Cuts off a last line that a process had begun when the machine went down.

    Optuna would not read the journal any more once another line had been added to it.
    """
    if not journal.exists():
        return
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with open(journal, "r+b") as file:
                file.truncate(whole)
    finally:
        lock.release()


def _is_fresh(trial: FrozenTrial) -> bool:
    """Whether who asked for it may only just be about to begin it."""
    if trial.datetime_start is None:
        return False
    here = trial.user_attrs.get("host", socket.gethostname()) == socket.gethostname()
    age = time.time() - trial.datetime_start.timestamp()
    return 0 <= age < (_FRESH if here else _FRESH_ELSEWHERE)


def _demand_same(study: optuna.Study, folder: Path, described: list[str]) -> None:
    before = study.user_attrs.get("described")
    if before is None:
        study.set_user_attr("described", described)
    elif before != described:
        gone = [line for line in before if line not in described]
        new = [line for line in described if line not in before]
        raise UserError(
            f"{folder} holds another study: it has {', '.join(gone) or 'nothing more'}, this "
            f"command {', '.join(new) or 'nothing more'}; take another name="
        )
