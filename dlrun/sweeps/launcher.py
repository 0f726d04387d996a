"""Between Hydra's sweeper and whoever runs the jobs: all are composed, checked and placed first."""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from dlrun.config.check import check, problems_of
from dlrun.config.compose import to_plain
from dlrun.config.schema import TrainConfig
from dlrun.errors import ConfigError
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

    def __init__(self, inner: Launcher, loader: ConfigLoader, config: DictConfig, run: Run) -> None:
        own = config.hydra.runtime.choices["hydra/launcher"] == OWN
        self.inner = None if own else inner
        self.loader, self.config, self.run = loader, config, run
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
        checked = self._checked(job_overrides, initial_job_idx)
        self.began = True
        jobs = self.run(checked, initial_job_idx, self.inner)
        returns = []
        for job in jobs:
            done = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
            done.return_value = job.value if job.state == "completed" else None
            returns.append(done)
        return returns

    def _checked(self, job_overrides: Sequence[Sequence[str]], first: int) -> Checked:
        plains: list[dict[str, Any]] = []
        problems: list[str] = []
        for number, overrides in enumerate(job_overrides, first):
            plains.append(job_config(self.loader, self.config, overrides, number))
            told = problems_of(plains[-1], [text.partition("=")[0] for text in overrides])
            problems += [line for line in told if line not in problems]
        if problems:
            raise ConfigError(problems)
        return [(list(o), check(plain)) for o, plain in zip(job_overrides, plains, strict=True)]


def job_config(
    loader: ConfigLoader, config: DictConfig, overrides: Sequence[str], number: int
) -> dict[str, Any]:
    """What one job of a sweep computes, plain and not yet checked.

    Args:
        loader: of a `config_source`.
        config: the sweep's own.
        overrides: the job's.
        number: the job's, for whoever has ${hydra:job.num} in a config.
    """
    own = loader.load_sweep_config(config, list(overrides))
    with open_dict(own):
        own.hydra.job.id = own.hydra.job.num = number
    return to_plain(own)


def remember(loader: ConfigLoader) -> None:
    """Lets `loader` compose each job once, which takes a tenth of a second, for the two who ask."""
    compose, kept = loader.load_sweep_config, {}

    def load_sweep_config(master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        key = tuple(sweep_overrides)
        if key not in kept:
            kept[key] = compose(master_config, sweep_overrides)
        return kept[key]

    loader.load_sweep_config = load_sweep_config  # type: ignore[method-assign]
