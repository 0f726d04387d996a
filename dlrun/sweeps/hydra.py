"""`dlrun train -m`: Hydra's sweep syntax and sweepers, our processes and run folders.

Hydra accepts launchers of the package hydra_plugins only. So the sweeper gets `Batches` for its
launcher, which checks every job and makes its folder; what is left to do then runs in processes of
ours, or is given to the launcher that was chosen.
"""

import hashlib
import os
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf

from dlrun.config.compose import PRIMARY, REFUSALS, Composer, composer, reason, to_plain
from dlrun.config.schema import SweepConfig, TrainConfig, check
from dlrun.config.typed import Typed
from dlrun.console import Console
from dlrun.errors import ConfigError, Interrupted, UserError
from dlrun.files import expanded
from dlrun.runs.run import Run
from dlrun.runs.select import settle
from dlrun.sweeps.plan import Job, divide, plan, processes, read_references
from dlrun.sweeps.pool import Pool
from dlrun.sweeps.process import Starter
from dlrun.sweeps.view import SweepView, counted, on_one_data, print_table

# They say how a sweep runs and not what it consists of.
_NOT_PART = ("sweep.", "hydra/launcher", "hydra.launcher")
# What the sweep's own config is composed of; the rest is its jobs'.
_OWN_KEYS = ("hydra", "+hydra", "~hydra", "sweep.", "tune.", "outputs=", "name=")
_OWN = "dlrun"
"""The option of `hydra/launcher` for our own processes."""
_EXTRAS = {"ray": "ray", "submitit_local": "slurm", "submitit_slurm": "slurm"}
_POLL = 2.0  # seconds


def sweep(overrides: list[str], config_dir: str | None, console: Console) -> int:
    """Runs every job; returns 1 where one did not complete.

    Raises:
        ConfigError: something is wrong with one of the jobs; nothing was started.
        Interrupted: stopped on request, the jobs that ran with a checkpoint.
    """
    jobs: list[Job] = []
    made: list[Path] = []
    with composer(config_dir) as own:
        try:
            parsed, wrong = own.parse(overrides, sweep=True)
            if wrong:
                raise ConfigError(wrong)
            config = compose_sweep([o.input_line or "" for o in parsed], _NOT_PART)
            batches = Batches(own, config, console, jobs)
            made = [path for path in (batches.folder, *batches.folder.parents) if not path.exists()]
            arguments = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
            _sweeper(batches).sweep(arguments=arguments)
        except _FailedFast:
            pass  # the table says what failed
        except REFUSALS as error:
            if jobs:
                raise
            raise ConfigError([reason(error)]) from None
        finally:
            if jobs:
                print_table(jobs, console)
            elif made:  # nothing was started: what the sweeper has written goes
                (made[0] / "multirun.yaml").unlink(missing_ok=True)
                for path in made:
                    with suppress(OSError):
                        path.rmdir()
    runs = {job.number: Run(job.folder.path) for job in jobs}
    comparable = on_one_data(runs, "job", "dlrun rm {}, then the same command", console)
    return 0 if comparable and all(job.state == "completed" for job in jobs) else 1


def compose_sweep(overrides: list[str], not_part: tuple[str, ...], verb: str = "") -> DictConfig:
    """The sweep's own config. Without a name, its folder is named by the command.

    Args:
        overrides: as typed.
        not_part: beginnings of those that say how it runs and not what it consists of.
        verb: `tune ` of a study.
    """
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    # Our configs of other launchers have the names of their plugins' own on purpose.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/", UserWarning)
    setup_globals()
    own = [text for text in overrides if text.startswith(_OWN_KEYS)]
    config = hydra.compose_config(
        PRIMARY, own, run_mode=RunMode.MULTIRUN, with_log_configuration=False
    )
    settings = config.hydra
    if config.name is None and not any(o.startswith("hydra.sweep.dir=") for o in overrides):
        what = "-".join(sorted(o for o in overrides if not o.startswith(not_part)))
        digest = hashlib.sha1(f"{verb}{what}".encode(), usedforsecurity=False).hexdigest()[:8]
        settings.sweep.dir = f"{config.outputs}/sweeps/{digest}"
    settings.sweep.dir = expanded(settings.sweep.dir)
    quoted = settings.sweep.dir.replace("'", "\\'")
    settings.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")  # for every job's config
    not_of_jobs = ("hydra", "sweep.", "tune.")
    settings.overrides.task = [
        text for text in overrides if not text.lstrip("+~").startswith(not_of_jobs)
    ]
    return config


def compose_job(
    composer: Composer, overrides: Sequence[str], references: dict[str, str]
) -> TrainConfig:
    """The config of one job of a sweep; the runs that it names are settled with `references`.

    Raises:
        UserError: everything that is wrong with it, in lines.
    """
    plain, wrong = composer.compose(overrides)
    wrong += settle(plain, references)
    config = check(plain, wrong, overrides, quick=True)
    processes(config)  # raises UserError where they cannot share the run
    return config


def read_section(typed: Typed, cls: type, config: DictConfig, name: str) -> Any:
    """A section of the config that is not part of a run; `typed.problems` gets its mistakes."""
    plain = OmegaConf.to_container(config[name], resolve=True)
    assert isinstance(plain, dict)
    return typed.build(cls, {str(key): value for key, value in plain.items()}, name)


def task(config: DictConfig) -> float | None:
    """Trains a job in a worker of another of Hydra's launchers, as a sweep of this one job.

    Returns its best val value, or None if it failed. Raises Interrupted with a checkpoint saved.
    """
    hydra = HydraConfig.get()
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):  # not all of the node's
        os.environ.setdefault("OMP_NUM_THREADS", cores)
    folder, plain = Path(hydra.sweep.dir), to_plain(config)
    references = read_references(folder)
    configs = [(list(hydra.overrides.task), check(plain, settle(plain, references)))]
    jobs = plan(configs, folder, hydra.job.num, references)
    settings = SweepConfig(jobs=1, retry="failed", fail_fast=False)
    slots = divide(settings, [job.config for job in jobs])
    with SweepView(Console(), jobs, at_a_time=1) as view:
        pool = Pool(jobs, slots, settings, view, time.time(), Starter(fork=False))
        pool.run()
    if pool.signal is not None:
        raise Interrupted(pool.signal, jobs[0].reason)
    return jobs[0].value if jobs[0].state == "completed" else None


class Batches(Launcher):
    """Runs the batches of jobs that Hydra's sweeper asks for, and adds the jobs to `jobs`."""

    def __init__(
        self, composer: Composer, config: DictConfig, console: Console, jobs: list[Job]
    ) -> None:
        self.composer, self.config, self.console, self.jobs = composer, config, console, jobs
        self.folder = Path(config.hydra.sweep.dir)
        self.references = read_references(self.folder)
        self.chosen: Launcher | None = None
        """Another launcher of Hydra's that runs the jobs."""
        self.start = Starter()
        typed = Typed()
        self.settings: SweepConfig = read_section(typed, SweepConfig, config, "sweep")
        if typed.problems:
            raise ConfigError(typed.problems)

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Nothing is left to set up."""

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """One batch, to its end; a job that failed gives no value, and the sweeper continues.

        Raises:
            ConfigError: what is wrong with any of them; none was started.
            Interrupted: asked to stop; all that ran has stopped.
        """
        configs: list[tuple[list[str], TrainConfig]] = []
        wrong: list[str] = []
        for overrides in job_overrides:
            try:
                config = compose_job(self.composer, overrides, self.references)
                configs.append((list(overrides), config))
            except UserError as error:
                wrong += str(error).splitlines()
        if wrong:
            raise ConfigError(list(dict.fromkeys(wrong)))
        jobs = plan(configs, self.folder, initial_job_idx, self.references)
        self.jobs += jobs
        slots = divide(self.settings, [job.config for job in jobs])
        began = time.time()
        with SweepView(self.console, jobs, slots.jobs) as view:
            pool = Pool(jobs, slots, self.settings, view, began, self.start)
            for job in jobs:
                pool.read(job)
            here = f"; {slots.line}" if self.chosen is None else ""
            view.say(f"sweep {self.folder}: {counted(jobs)}{here}")
            if self.chosen is None:
                pool.run()
            else:
                _run_elsewhere(self.chosen, pool, initial_job_idx)
        if pool.signal is not None:
            again = "run the same command again to resume it"
            raise Interrupted(pool.signal, f"sweep stopped ({counted(self.jobs)}); {again}")
        if self.settings.fail_fast and any(job.state in ("failed", "interrupted") for job in jobs):
            raise _FailedFast
        returns = []
        for job in jobs:
            returns.append(JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED))
            returns[-1].return_value = job.value if job.state == "completed" else None
        return returns


def _sweeper(batches: Batches) -> Any:
    """Hydra's sweeper, with `batches` between it and its launcher."""
    config, loader = batches.config, batches.composer.loader
    name = config.hydra.runtime.choices["hydra/launcher"]
    try:
        sweeper = Plugins.instance().instantiate_sweeper(
            config=config,
            hydra_context=HydraContext(config_loader=loader, callbacks=Callbacks(config)),
            task_function=task,
        )
    except RuntimeError as error:
        if name in _EXTRAS and "Unknown plugin" in str(error):
            needed = f"hydra/launcher={name} needs pip install 'dlrun[{_EXTRAS[name]}]'"
            raise UserError(needed) from None
        raise
    if name != _OWN:
        batches.chosen = sweeper.launcher
    sweeper.launcher = batches
    # `launch` composes every job; the sweeper would have done the same once more before.
    sweeper.validate_batch_is_legal = lambda batch: None  # type: ignore[method-assign]
    return sweeper


def _run_elsewhere(launcher: Launcher, pool: Pool, first: int) -> None:
    """Gives the jobs that are left to another of Hydra's launchers."""
    left = [job for job in pool.jobs if job.state in ("waiting", "elsewhere")]
    if not left:
        return
    try:
        launcher.launch([job.overrides for job in left], initial_job_idx=first)
    except Exception as error:  # it lost a worker, say; the folders tell what was done
        pool.view.say(f"the launcher failed: {type(error).__name__}: {error}")
    finally:
        for job in left:
            pool.conclude(job)
    while any(job.state == "elsewhere" for job in left):  # what a failed launcher had started
        time.sleep(_POLL)
        for job in left:
            pool.conclude(job)


class _FailedFast(UserError):
    """sweep.fail_fast: no further batch."""
