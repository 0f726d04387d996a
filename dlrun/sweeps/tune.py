"""`dlrun tune`: works on a study until it has as many trials as were asked for."""

import time
from typing import TYPE_CHECKING

from dlrun.config.compose import composer, user_config_dir
from dlrun.errors import Interrupted
from dlrun.sweeps.outcome import report_study
from dlrun.sweeps.process import Starter
from dlrun.sweeps.request import Request
from dlrun.sweeps.slots import divide
from dlrun.sweeps.study import Study
from dlrun.sweeps.trials import StudyView, Trials, counts
from dlrun.sweeps.view import listed

if TYPE_CHECKING:
    from rich.console import Console

    from dlrun.sweeps.plan import Job


def tune(overrides: list[str], config_dir: str | None, console: "Console") -> int:
    """Runs the trials that are missing and reports on the study.

    Args:
        overrides: as typed.
        config_dir: as typed; None: ./conf, if there is one.
        console: prints.

    Returns:
        1 where a trial of the study failed or was interrupted, or none is completed.

    Raises:
        ConfigError: everything that is wrong with the overrides.
        Interrupted: stopped on request, the trials that ran with a checkpoint.
    """
    with composer(config_dir or user_config_dir()) as own:
        request = Request(own, overrides)
        study = request.study()
        jobs: list[Job] = []
        try:
            _run_trials(request, study, jobs, console)
        finally:
            if study.trials():
                report_study(study, jobs, console, config_dir)
        states = counts(study, jobs)
    return 0 if states["completed"] and not states["failed"] + states["interrupted"] else 1


def _run_trials(request: Request, study: Study, jobs: "list[Job]", console: "Console") -> None:
    began = time.time()
    settings = request.settings
    timeout = settings.timeout.seconds if settings.timeout else None
    until = float("inf") if timeout is None else began + timeout
    if request.sweep.retry == "failed":
        study.try_again()
    slots = divide(request.sweep, request.examples[:1] * study.total)
    with StudyView(console, study, jobs, slots.jobs) as view:
        for parameter in study.space.parameters:
            view.say(str(parameter))
        objectives = " and ".join(map(str, study.objectives))
        view.say(f"objective {objectives}; sampler {settings.sampler}, pruner {study.pruner}")
        if request.skipped:
            view.say(f"trials skip what only a report needs: {' '.join(request.skipped)}")
        view.say(f"study {study.folder}: {listed(view.counts())}; {slots.line}")
        trials = Trials(
            study,
            lambda trial: request.job(trial, study),
            until,
            jobs=jobs,
            slots=slots,
            settings=request.sweep,
            view=view,
            began=began,
            start=Starter(),
        )
        trials.run()
    resume = "run the same command again to resume it"
    if trials.signal is not None:
        raise Interrupted(trials.signal, f"study stopped ({listed(view.counts())}); {resume}")
    if time.time() >= until and len(study.trials()) < study.total:
        console.print(f"tune.timeout={settings.timeout} has passed; {resume}", highlight=False)
