"""The study: Optuna's ask and tell over a journal file that several processes share.

The values of a trial are a function of `tune.seed`, the trial's number and the trials before it, so
an interrupted study continues as if it had not been interrupted.
"""

import math
import os
import socket
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import optuna
from filelock import Timeout
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GridSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, TrialState

from dlrun.config.schema import TuneConfig
from dlrun.errors import UserError
from dlrun.files import exclusive, process_lock
from dlrun.sweeps.objective import Objective
from dlrun.sweeps.space import Space

JOURNAL = "study.journal"
_GENERATION = 20  # trials of one generation of NSGA-II; with Optuna's 50, 40 trials are all random
_PRUNERS = {"median": MedianPruner, "hyperband": HyperbandPruner, "none": NopPruner}
"""Their resource is the number of evaluations on val."""


class Study:
    """One study, as one of the processes that work on it sees it.

    A trial belongs to the process whose name it has; that process holds the lock of that name for
    as long as it lives. So the trials of one that was killed are taken over at once.

    Args:
        folder: of the journal and the trials' runs.
        space: what is searched.
        objectives: several give a front.
        settings: the section `tune`.
        described: what makes it the same study, in lines.

    Raises:
        UserError: the folder has another study.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        objectives: Sequence[Objective],
        settings: TuneConfig,
        described: list[str],
    ) -> None:
        self.folder, self.space, self.objectives = folder, space, objectives
        self.settings = settings
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator", UserWarning)
        (folder / ".workers").mkdir(parents=True, exist_ok=True)
        self._lock = folder / ".lock"
        self._worker = f"{socket.gethostname()}-{os.getpid()}-{id(self)}"
        self._alive = process_lock(folder / ".workers" / self._worker)
        self._alive.acquire()
        journal = folder / JOURNAL
        repair(journal)
        with exclusive(self._lock):
            self._storage = JournalStorage(JournalFileBackend(str(journal)))
            self.optuna = optuna.create_study(
                storage=self._storage,
                study_name=folder.name,
                sampler=RandomSampler(),  # each trial is drawn by one of its own
                pruner=_PRUNERS[self.pruner](),
                directions=["maximize" if o.maximize else "minimize" for o in objectives],
                load_if_exists=True,
            )
            _demand_same(self.optuna, folder, described)
        self._id = self._storage.get_study_id_from_name(folder.name)

    @property
    def pruner(self) -> str:
        """The pruner that stops trials early; none with several objectives."""
        if self.settings.pruner == "auto":
            return "median" if len(self.objectives) == 1 and self.objectives[0].of_val else "none"
        return self.settings.pruner

    @property
    def total(self) -> int:
        """The number of trials that are wanted; a grid ends with its last point."""
        grid = self.space.grid() if self.settings.sampler == "grid" else None
        size = math.prod(map(len, grid.values())) if grid else self.settings.trials
        return min(self.settings.trials, size)

    def trials(self) -> list[FrozenTrial]:
        """All in the journal, without those that were tried again or never drawn."""
        trials = self.optuna.get_trials(deepcopy=False)
        again = {trial.user_attrs.get("again") for trial in trials}
        return [
            trial
            for trial in trials
            if trial.number not in again
            and (self._is_drawn(trial) or trial.state != TrialState.FAIL)
        ]

    def _is_drawn(self, trial: FrozenTrial) -> bool:
        return trial.params.keys() == self.space.distributions.keys()

    def trial(self, number: int) -> FrozenTrial:
        """One of them."""
        return self._storage.get_trial(self._trial_id(number))

    def complete(self) -> list[FrozenTrial]:
        """The completed trials in order."""
        return [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]

    def ranked(self) -> list[FrozenTrial]:
        """The completed trials, best first; with several objectives, those of the front.

        Of trials that drew the same values, and so share a run, the first.
        """
        complete = self.complete() if len(self.objectives) == 1 else self.optuna.best_trials
        sign = -1 if self.objectives[0].maximize else 1
        by_run: dict[str, FrozenTrial] = {}
        for trial in sorted(complete, key=lambda trial: (sign * trial.values[0], trial.number)):
            by_run.setdefault(trial.user_attrs.get("run", str(trial.number)), trial)
        return list(by_run.values())

    def record_run(self, number: int, run: str) -> None:
        """Keeps the name of a trial's folder in the journal."""
        if self.trial(number).user_attrs.get("run") != run:
            self._storage.set_trial_user_attr(self._trial_id(number), "run", run)

    def next(self, known: Collection[int], more: bool) -> tuple[FrozenTrial | None, bool]:
        """A trial to work on: one whose process has died, or a new one.

        Args:
            known: numbers of those that this process works on or has worked on.
            more: whether new ones are wanted.

        Returns:
            The trial, or None, and whether there may be one later.
        """
        with exclusive(self._lock):
            trials = self.trials()
            running = [
                trial
                for trial in trials
                if trial.state == TrialState.RUNNING and trial.number not in known
            ]
            for trial in [trial for trial in running if not self.is_owned(trial)]:
                if self._is_drawn(trial):
                    return self._own(trial.number), True
                self.optuna.tell(trial.number, state=TrialState.FAIL)  # it died as it was drawn
            started = sum(trial.state != TrialState.WAITING for trial in self.trials())
            if not more or started >= self.total:
                return None, bool(running)
            before = self.optuna.sampler
            number = len(self.optuna.get_trials(deepcopy=False))
            self.optuna.sampler = sampler(self.settings, self.space, number)
            try:
                trial_number = self.optuna.ask(self.space.distributions).number
            finally:
                self.optuna.sampler = before  # a grid's would stop Optuna's own loop at its end
            return self._own(trial_number), True

    def _own(self, number: int) -> FrozenTrial:
        self._storage.set_trial_user_attr(self._trial_id(number), "worker", self._worker)
        return self.trial(number)

    def is_owned(self, trial: FrozenTrial) -> bool:
        """Whether a process that lives works on a running trial."""
        worker = trial.user_attrs.get("worker")
        if worker is None or worker == self._worker:
            return worker is not None
        try:
            with process_lock(self.folder / ".workers" / worker, timeout=0):
                return False
        except Timeout:
            return True

    def try_again(self) -> None:
        """Puts the trials that failed so far in line once more."""
        with exclusive(self._lock):
            for trial in self.trials():
                if trial.state == TrialState.FAIL:
                    self.optuna.enqueue_trial(trial.params, user_attrs={"again": trial.number})

    def report(self, number: int, evaluation: int, value: float) -> None:
        """What a trial has measured at an evaluation on val, the first, the second, and so on.

        Its number is what trials of different batch sizes have in common.
        """
        self._storage.set_trial_intermediate_value(self._trial_id(number), evaluation, value)

    def prunes(self, number: int) -> bool:
        """Whether the pruner stops the trial, after what was reported last."""
        return bool(self.optuna.pruner.prune(self.optuna, self.trial(number)))

    def tell(
        self, number: int, state: TrialState, values: list[float] | None = None, reason: str = ""
    ) -> None:
        """Records how a trial has ended, once."""
        with exclusive(self._lock):
            if reason and not self.trial(number).state.is_finished():
                self._storage.set_trial_user_attr(self._trial_id(number), "reason", reason)
            self.optuna.tell(number, values, state, skip_if_finished=True)

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, number)


def sampler(settings: TuneConfig, space: Space, number: int) -> BaseSampler:
    """Draws the trial of that number: a function of the two and of the trials before."""
    if settings.sampler == "grid":
        grid = space.grid()
        assert grid is not None
        return GridSampler(grid, seed=settings.seed)
    seed = int(np.random.SeedSequence([settings.seed, number]).generate_state(1)[0])
    if settings.sampler == "random":
        return RandomSampler(seed=seed)
    if settings.sampler == "nsga2":
        return NSGAIISampler(seed=seed, population_size=_GENERATION)
    return TPESampler(seed=seed, constant_liar=True)


def repair(journal: Path) -> None:
    """Cuts off a last line that a crash or a full disk left unfinished.

    Optuna could not read the journal any more once another line had been added to it.
    """
    if not journal.exists():
        return
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()
    try:
        with open(journal, "r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    finally:
        lock.release()


def _demand_same(study: optuna.Study, folder: Path, described: list[str]) -> None:
    before = study.user_attrs.get("described")
    if before is None:
        study.set_user_attr("described", described)
    elif before != described:
        gone = ", ".join(line for line in before if line not in described)
        new = ", ".join(line for line in described if line not in before)
        raise UserError(
            f"{folder} holds another study, with {gone or 'less'} instead of {new or 'less'}; give "
            "another name="
        )
