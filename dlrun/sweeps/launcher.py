"""Between Hydra's sweeper and whoever runs the jobs: all are composed, checked and placed first."""

from collections.abc import Callable, Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dlrun.config.check import check
from dlrun.config.compose import Composer
from dlrun.config.schema import TrainConfig
from dlrun.errors import ConfigError
from dlrun.runs.references import settle
from dlrun.sweeps.plan import Job

Checked = list[tuple[list[str], TrainConfig]]
"""The overrides and the config of each job."""
Run = Callable[[Checked, int, Launcher | None], list[Job]]
"""Runs jobs, numbered from the second argument on, and gives them when over. With a launcher of
Hydra's, or in processes of our own."""
OWN = "dlrun"
"""The option of `hydra/launcher` that stands for processes of our own."""


class Planned(Launcher):
    """What a sweeper takes for its launcher: composes and checks every job, then has them run."""

    def __init__(
        self,
        inner: Launcher,
        composer: Composer,
        config: DictConfig,
        run: Run,
        memo: dict[str, str],
    ) -> None:
        own = config.hydra.runtime.choices["hydra/launcher"] == OWN
        self.inner = None if own else inner
        self.composer, self.run, self.memo = composer, run, memo
        self.began = False

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Set up already."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs them; a job that failed gives no number, and the sweeper goes on.

        Raises:
            ConfigError: what is wrong with any of them; none was started.
        """
        checked = self._checked(job_overrides)
        self.began = True
        jobs = self.run(checked, initial_job_idx, self.inner)
        returns = []
        for job in jobs:
            done = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
            done.return_value = job.value if job.state == "completed" else None
            returns.append(done)
        return returns

    def _checked(self, job_overrides: Sequence[Sequence[str]]) -> Checked:
        checked: Checked = []
        problems: list[str] = []
        for overrides in job_overrides:
            try:
                checked.append((list(overrides), job_config(self.composer, overrides, self.memo)))
            except ConfigError as error:
                problems += [line for line in error.problems if line not in problems]
        if problems:
            raise ConfigError(problems)
        return checked


def job_config(composer: Composer, overrides: Sequence[str], memo: dict[str, str]) -> TrainConfig:
    """What one job of a sweep computes, its references to other runs settled.

    Raises:
        ConfigError: what is wrong with it.
    """
    plain, problems = composer.compose(overrides)
    problems += settle(plain, memo)
    return check(plain, problems, [text.partition("=")[0] for text in overrides])
