"""Works on a study: its trials are jobs of a pool, told to Optuna as they go and as they end."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from dlrun.config.schema import SweepConfig
from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.runs.status import note_end, read_status
from dlrun.sweeps.plan import Job, State
from dlrun.sweeps.pool import Pool, View
from dlrun.sweeps.process import Process
from dlrun.sweeps.shares import Shares
from dlrun.sweeps.view import SweepView
from dlrun.tuning.objective import evaluations, lacking, values
from dlrun.tuning.study import Study

_ASK_EVERY = 0.5  # seconds between looks for further trials, where there was none
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}

Place = Callable[[FrozenTrial], Job]
"""From a trial to its job: composed, checked, with its folder."""


class Trials(Pool):
    """A pool whose jobs are the trials of a study, those of other processes among them.

    Args:
        study: which is asked and told.
        jobs: an empty list, to which they are added; the view's.
        place: makes the job of a trial; what it raises is why the trial failed.
        shares: of the machine.
        asked: what to do about failures.
        view: told of every change.
        began: seconds since 1970.
        until: no trial is begun later than this, seconds since 1970.
    """

    def __init__(
        self,
        study: Study,
        jobs: list[Job],
        place: Place,
        shares: Shares,
        asked: SweepConfig,
        view: View,
        began: float,
        until: float = float("inf"),
    ) -> None:
        super().__init__(jobs, shares, asked, view, began)
        self.study, self.until = study, until
        self._place = place
        self._known: set[int] = set()
        self._more, self._asked_at = True, 0.0

    def open(self) -> bool:
        """Whether trials are left, here or with a process that may have died."""
        return self._more or super().open()

    def further(self) -> Job | None:
        """The next trial."""
        if time.monotonic() - self._asked_at < _ASK_EVERY:
            return None
        if any(job.state == "waiting" for job in self.jobs):  # for a run with the same values
            return None
        while True:
            in_time = time.time() < self.until
            trial, self._more = self.study.next(self._known, more=in_time)
            if trial is None:
                self._asked_at = time.monotonic()
                return None
            self._known.add(trial.number)
            try:
                return self._place(trial)
            except UserError as error:
                told = "; ".join(str(error).splitlines())
                self.study.tell(trial.number, TrialState.FAIL, reason=told)
                self.view.say(f"trial {trial.number} failed: {told}")

    def begins(self, job: Job) -> bool:
        """Not where the trial is over, or to be pruned by what its run has logged already."""
        trial = self.study.trial(job.number)
        if trial.state != TrialState.RUNNING:  # another process was quicker
            job.state, job.reason = _STATES[trial.state], trial.user_attrs.get("reason", "")
        elif self._is_pruned(job, asked_again=True):
            job.state, job.reason = "pruned", self._reason(job)
            note_end(job.folder, job.state, job.reason)
        return job.state == "waiting"

    def watch(self, process: Process) -> None:
        """Reports what the run has measured, and has it stop where the pruner says so."""
        super().watch(process)
        if not process.pruned and self._is_pruned(process.job):
            process.prune(self._reason(process.job))

    def over(self, job: Job) -> None:
        """Told to Optuna. What was cut off is not over and stays to be gone on with."""
        if job.state == "completed":
            self._report(job, stop=False)
            try:
                found = values(job.folder, self.study.objectives)
            except ValueError as error:
                if line := lacking(job.folder, self.study.objectives):
                    raise UserError(line) from None
                job.state, job.reason = "failed", str(error)
            else:
                shown = {o.name: v for o, v in zip(self.study.objectives, found, strict=True)}
                job.value = shown.get(job.key_metric or "", job.value)
                self.study.tell(job.number, TrialState.COMPLETE, found)
        if job.state == "pruned":
            self.study.tell(job.number, TrialState.PRUNED, reason=job.reason)
        elif job.state == "failed":
            self.study.tell(job.number, TrialState.FAIL, reason=job.reason)

    def _is_pruned(self, job: Job, asked_again: bool = False) -> bool:
        if self.study.pruner == "none":
            return False
        step = self._report(job, stop=True)
        if step is None:
            return True
        return asked_again and 0 < step < job.total and self.study.prunes(job.number)

    def _report(self, job: Job, stop: bool) -> int | None:
        """Reports what is new; the step of the latest evaluation, or None at one to be pruned at.

        Args:
            job: whose run is read.
            stop: whether it may be pruned, but for its last evaluation.
        """
        if len(self.study.objectives) > 1 or not self.study.objectives[0].of_val:
            return 0  # Optuna keeps no curves of several
        name, rows = self.study.objectives[0].name, evaluations(job.folder)
        if rows and (line := lacking(job.folder, self.study.objectives)):
            raise UserError(line)
        trial = self.study.trial(job.number)
        if trial.state.is_finished():
            return 0
        for place, row in enumerate(rows, 1):
            if place in trial.intermediate_values:
                continue
            self.study.report(job.number, place, row.numbers[name])
            if stop and row.step < job.total and self.study.prunes(job.number):
                return None
        return rows[-1].step if rows else 0

    def _reason(self, job: Job) -> str:
        """Of the evaluation after which it was decided; the run may have gone on a little."""
        objective, place = self.study.objectives[0], self.study.trial(job.number).last_step
        assert place is not None
        row = evaluations(job.folder)[place - 1]
        return (
            f"{objective.title} {row.numbers[objective.name]:.4g} at step {row.step} of "
            f"{job.total}, stopped by the {self.study.pruner} pruner"
        )


def counts(study: Study, jobs: Sequence[Job]) -> Counter[State]:
    """How many of a study's trials are in which state, those that were not begun among them.

    Args:
        study: whoever works on it.
        jobs: this process's own, which knows more of them than the journal does.
    """
    own: dict[int, State] = {job.number: job.state for job in jobs}

    def state(trial: FrozenTrial) -> State:
        if trial.state != TrialState.RUNNING:
            return _STATES.get(trial.state, "waiting")
        return own.get(trial.number) or _of_others(study, trial)

    trials = study.trials()
    found = Counter(map(state, trials))
    found["waiting"] += max(0, study.total - len(trials))
    return found


def _of_others(study: Study, trial: FrozenTrial) -> State:
    """Whether its process ended before it could tell the study."""
    run = trial.user_attrs.get("run")
    status = None if run is None else read_status(RunFolder(study.folder / run))
    return "elsewhere" if status is None or status.state == "running" else status.state


class StudyView(SweepView):
    """What a person sees of a study."""

    whole, part = "study", "trial"

    def __init__(self, console: Console, study: Study, jobs: list[Job], at_a_time: int) -> None:
        super().__init__(console, jobs, at_a_time)
        self.study = study

    def counts(self) -> Counter[State]:
        """Of the whole study, whoever works on it."""
        return counts(self.study, self.jobs)

    def best(self) -> str:
        """The best of all trials so far, where one number is looked for."""
        if len(self.study.objectives) > 1:
            return ""
        (objective,) = self.study.objectives
        best = next(iter(self.study.ranked()), None)
        return "" if best is None else f"; best {objective.title} {best.value:.4g} ({best.number})"
