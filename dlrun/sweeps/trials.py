"""Works on a study: its trials are jobs of a pool, and what they measure goes to Optuna."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.runs.status import note_end
from dlrun.sweeps.objective import demand_measured, values
from dlrun.sweeps.plan import Job, State
from dlrun.sweeps.pool import Pool
from dlrun.sweeps.process import Process
from dlrun.sweeps.study import Study
from dlrun.sweeps.view import SweepView

_ASK_EVERY = 0.5  # seconds between looks for further trials, where there was none
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}

MakeJob = Callable[[FrozenTrial], Job]
"""From a trial to its job: composed, checked, with its folder."""


class Trials(Pool):
    """A pool whose jobs are the trials of a study.

    Args:
        study: gives the trials, and records how they end.
        make_job: what it raises is why the trial failed.
        until: no trial starts later than this, in seconds since 1970.
        pool: of `Pool`; trials are added to `jobs`, an empty list that the view has too.
    """

    def __init__(
        self, study: Study, make_job: MakeJob, until: float = float("inf"), **pool: Any
    ) -> None:
        super().__init__(**pool)
        self.study, self.until = study, until
        self._make_job = make_job
        self._known: set[int] = set()
        self._more, self._asked_at = True, 0.0

    def unfinished(self) -> bool:
        """Whether trials are left, here or with a process that may die."""
        return self._more or super().unfinished()

    def next_job(self) -> Job | None:
        """The next trial."""
        if time.monotonic() - self._asked_at < _ASK_EVERY:
            return None
        if any(job.state == "waiting" for job in self.jobs):  # for a run with the same values
            return None
        while True:
            trial, self._more = self.study.next(self._known, more=time.time() < self.until)
            if trial is None:
                self._asked_at = time.monotonic()
                return None
            self._known.add(trial.number)
            try:
                return self._make_job(trial)
            except UserError as error:
                reason = "; ".join(str(error).splitlines())
                self.study.tell(trial.number, TrialState.FAIL, reason=reason)
                self.view.say(f"trial {trial.number} failed: {reason}")

    def may_start(self, job: Job) -> bool:
        """Not if its run has logged something already for which the pruner stops it."""
        if reason := self._report(job, resumed=True):
            job.state, job.reason = "pruned", reason
            note_end(job.folder, job.state, job.reason)
        return job.state == "waiting"

    def watch(self, process: Process) -> None:
        """Reports what the run has measured, and stops it where the pruner says so."""
        super().watch(process)
        if not process.pruned and (reason := self._report(process.job)):
            process.prune(reason)

    def on_end(self, job: Job) -> None:
        """Tells Optuna. An interrupted trial has not ended and can be resumed."""
        if job.state == "completed":
            self._report(job)
            demand_measured(job, self.study.objectives)
            try:
                found = values(job.folder, self.study.objectives)
            except ValueError as error:
                job.state, job.reason = "failed", str(error)
            else:
                by_name = {o.name: v for o, v in zip(self.study.objectives, found, strict=True)}
                job.value = by_name.get(job.key_metric or "", job.value)
                self.study.tell(job.number, TrialState.COMPLETE, found)
        if job.state == "pruned":
            self.study.tell(job.number, TrialState.PRUNED, reason=job.reason)
        elif job.state == "failed":
            self.study.tell(job.number, TrialState.FAIL, reason=job.reason)

    def _report(self, job: Job, resumed: bool = False) -> str:
        """Reports what the run has measured since; why the pruner stops it, or ''.

        It is pruned neither at its last evaluation nor once it is completed. Where it is `resumed`
        the pruner is asked about the latest evaluation again.
        """
        objective, trial = self.study.objectives[0], self.study.trial(job.number)
        if len(self.study.objectives) > 1 or not objective.of_val or trial.state.is_finished():
            return ""  # Optuna keeps no curves of several
        rows = job.evaluations.look()
        if rows:
            demand_measured(job, self.study.objectives)
        for number, (step, numbers) in enumerate(rows, 1):
            if number not in trial.intermediate_values:
                self.study.report(job.number, number, numbers[objective.name])
            elif not (resumed and number == len(rows)):
                continue
            ends = step >= job.total or job.state == "completed"
            if not ends and self.study.prunes(job.number):
                return (
                    f"{objective.title} {numbers[objective.name]:.4g} at step {step} of "
                    f"{job.total}, stopped by the {self.study.pruner} pruner"
                )
        return ""


def counts(study: Study, jobs: Sequence[Job]) -> Counter[State]:
    """How many of a study's trials are in which state, those not started among them.

    `jobs` are this process's own: it knows more about them than the journal does.
    """
    own: dict[int, State] = {job.number: job.state for job in jobs}

    def state(trial: FrozenTrial) -> State:
        if trial.state != TrialState.RUNNING:
            return _STATES.get(trial.state, "waiting")
        return own.get(trial.number) or ("elsewhere" if study.is_owned(trial) else "interrupted")

    trials = study.trials()
    found = Counter(map(state, trials))
    found["waiting"] += max(0, study.total - len(trials))
    return found


class StudyView(SweepView):
    """Prints what happens in a study."""

    whole, part = "study", "trial"

    def __init__(self, console: Console, study: Study, jobs: list[Job], at_a_time: int) -> None:
        super().__init__(console, jobs, at_a_time)
        self.study = study

    def counts(self) -> Counter[State]:
        """Of the whole study, in all processes."""
        return counts(self.study, self.jobs)

    def best(self) -> str:
        """The best of all trials so far, where there is one objective."""
        best = next(iter(self.study.ranked()), None)
        if len(self.study.objectives) > 1 or best is None:
            return ""
        title = self.study.objectives[0].title
        return f"; best {title} {best.value:.4g} (trial {best.number})"
