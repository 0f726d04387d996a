"""`dlrun train -m`: Hydra's sweep syntax, sweepers and launchers; our processes and run folders.

A job's folder is named by its config's signature, so the same command again skips what is done and
goes on with what was cut off.
"""

import hashlib
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.console import Console

from dlrun.commands.console import log_to, make_console
from dlrun.commands.job import task
from dlrun.config.compose import PRIMARY, REFUSALS, Composer, composer, reason
from dlrun.config.schema import SweepConfig, TrainConfig
from dlrun.config.typed import Typed
from dlrun.errors import ConfigError, Interrupted, UserError
from dlrun.sweeps.launcher import Checked, Planned
from dlrun.sweeps.plan import Job, meanings, plan
from dlrun.sweeps.pool import Pool
from dlrun.sweeps.shares import share
from dlrun.sweeps.view import SweepView, counted, final_table

# They say how a sweep is run and not what it consists of.
_ASIDE = ("sweep.", "hydra/launcher", "hydra.launcher")
# What the sweep's own config is composed of; the rest is its jobs'.
_OF_THE_SWEEP = ("hydra", "+hydra", "~hydra", "sweep.", "tune.", "outputs=", "name=")
_EXTRAS = {
    "ray": ("hydra_ray_launcher", "ray"),
    "submitit": ("hydra_submitit_launcher", "slurm"),
}
_POLL = 2.0  # seconds
_WIDE = 250  # characters


def sweep(overrides: list[str], config_dir: str | None) -> int:
    """Runs every job; 1 where one did not come to its end.

    Raises:
        ConfigError: something is wrong with one of the jobs; nothing was started.
        Interrupted: stopped on request, the jobs that ran with a checkpoint.
    """
    console = make_console()
    log_to(console)
    jobs: list[Job] = []
    with composer(config_dir) as ours:
        planned: Planned | None = None
        try:
            _, wrong = ours.parse(overrides, sweep=True)
            if wrong:
                raise ConfigError(wrong)
            config = composed(overrides, _ASIDE)
            own = _Sweep(console, jobs, config)
            with _nothing_left(Path(config.hydra.sweep.dir)):
                sweeper, planned = _sweeper(ours, config, own)
                arguments = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
                sweeper.sweep(arguments=arguments)
        except _Enough:
            pass  # the table tells
        except REFUSALS as error:
            if planned is not None and planned.began:
                raise
            raise ConfigError([reason(error)]) from None
        finally:
            if jobs:
                if not console.is_terminal:  # a file has no edge
                    console.width = _WIDE
                console.print(final_table(jobs))
                console.print(counted(jobs), highlight=False)
    return 0 if all(job.state == "completed" for job in jobs) else 1


def composed(overrides: list[str], aside: tuple[str, ...], verb: str = "") -> DictConfig:
    """The sweep's own config. Its folder, where it has no name, is named by the command.

    Args:
        overrides: as typed.
        aside: beginnings of those that say how it is run and not what it consists of.
        verb: of the command, where it is not a training.
    """
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    # Our configs of other launchers have the names of their plugins' own, and are meant to.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/", UserWarning)
    setup_globals()

    def compose(texts: list[str]) -> DictConfig:
        return hydra.compose_config(
            PRIMARY, texts, run_mode=RunMode.MULTIRUN, with_log_configuration=False
        )

    own = [text for text in overrides if text.startswith(_OF_THE_SWEEP)]
    config = compose(own)
    if config.name is None and not any(o.startswith("hydra.sweep.dir=") for o in overrides):
        what = "-".join(sorted(o for o in overrides if not o.startswith(aside)))
        digest = hashlib.sha1(f"{verb}{what}".encode(), usedforsecurity=False).hexdigest()[:8]
        path = f"{config.outputs}/sweeps/{digest}".replace("'", "\\'")
        config = compose([*own, f"hydra.sweep.dir='{path}'"])
    with open_dict(config):
        # What says how the sweep is run is no part of its jobs.
        aside = ("hydra", "sweep.", "tune.")
        jobs = [text for text in overrides if not text.lstrip("+~").startswith(aside)]
        config.hydra.overrides.task = jobs
    return config


def _demand_installed(launcher: str) -> None:
    """One line instead of Hydra's about a class that there is not."""
    for start, (package, extra) in _EXTRAS.items():
        if launcher.startswith(start) and not _installed(f"hydra_plugins.{package}"):
            raise UserError(f"hydra/launcher={launcher} needs pip install 'dlrun[{extra}]'")


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False


def _sweeper(ours: Composer, config: DictConfig, own: "_Sweep") -> tuple[Any, Planned]:
    """Hydra's sweeper, with us between it and its launcher."""
    from hydra._internal.callbacks import Callbacks

    _demand_installed(config.hydra.runtime.choices["hydra/launcher"])
    sweeper = Plugins.instance().instantiate_sweeper(
        config=config,
        hydra_context=HydraContext(config_loader=ours.loader, callbacks=Callbacks(config)),
        task_function=task,
    )
    assert sweeper.launcher is not None
    # Hydra's would compose every job once more; `Planned` checks them all.
    sweeper.validate_batch_is_legal = lambda batch: None  # type: ignore[method-assign]
    sweeper.launcher = planned = Planned(sweeper.launcher, ours, config, own.run, own.memo)
    return sweeper, planned


def section(typed: Typed, cls: type, config: DictConfig, name: str) -> Any:
    """A section that no run knows of; what is wrong with it is then among `typed.problems`."""
    plain = OmegaConf.to_container(config[name], resolve=True)
    assert isinstance(plain, dict)
    return typed.build(cls, {str(key): value for key, value in plain.items()}, name)


class _Sweep:
    """Runs what Hydra's sweeper asks for; keeps every job of it in `jobs`."""

    def __init__(self, console: Console, jobs: list[Job], config: DictConfig) -> None:
        self.console, self.jobs = console, jobs
        self.folder = Path(config.hydra.sweep.dir)
        self.memo = meanings(self.folder)
        typed = Typed()
        self.asked: SweepConfig = section(typed, SweepConfig, config, "sweep")
        if typed.problems:
            raise ConfigError(typed.problems)

    def run(self, checked: Checked, first: int, launcher: Launcher | None) -> list[Job]:
        """One batch, to its end.

        Raises:
            ConfigError: processes that cannot share a job; nothing was started.
            Interrupted: asked to stop; all that ran has stopped.
        """
        began = time.time()
        demand_processes([config for _, config in checked])
        jobs = plan(checked, self.folder, first, self.memo)
        self.jobs += jobs
        shares = share(self.asked, [job.config for job in jobs])
        with SweepView(self.console, jobs, shares.jobs) as view:
            pool = Pool(jobs, shares, self.asked, view, began)
            for job in jobs:
                pool.settle(job)
            if launcher is None:
                self._say(f"sweep {self.folder}: {counted(jobs)}; {shares.line}")
                pool.run()
            else:
                self._say(f"sweep {self.folder}: {counted(jobs)}")
                self._elsewhere(jobs, pool, launcher, first)
        if pool.signal is not None:
            raise Interrupted(
                pool.signal, f"sweep stopped ({counted(self.jobs)}); the same command goes on"
            )
        if self.asked.fail_fast and any(job.state == "failed" for job in jobs):
            raise _Enough
        return jobs

    def _elsewhere(self, jobs: list[Job], pool: Pool, launcher: Launcher, first: int) -> None:
        """By another of Hydra's launchers, which is given what is left to do."""
        left = [job for job in jobs if job.state in ("waiting", "elsewhere")]
        if not left:
            return
        try:
            launcher.launch([job.overrides for job in left], initial_job_idx=first)
        except Exception as error:  # a worker was lost, say; the folders tell what was done
            self._say(f"the launcher failed: {type(error).__name__}: {error}")
        finally:
            for job in left:
                pool.conclude(job)
        while any(job.state == "elsewhere" for job in left):  # what a failed launcher had begun
            time.sleep(_POLL)
            for job in left:
                pool.conclude(job)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)


def demand_processes(configs: Sequence[TrainConfig]) -> None:
    """Jobs of several processes are possible. Raises ConfigError."""
    problems = []
    for config in configs:
        if config.hardware.devices != 1:
            from dlrun.commands.launch import processes

            try:
                processes(config)
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


class _Enough(UserError):
    """sweep.fail_fast: no further batch."""


@contextmanager
def _nothing_left(folder: Path) -> Iterator[None]:
    """Takes away what the sweeper has written where the jobs turn out to be wrong."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except (ConfigError, *REFUSALS):
        if folder in made:
            (folder / "multirun.yaml").unlink(missing_ok=True)
            for path in made:
                if path.is_dir() and not any(path.iterdir()):
                    path.rmdir()
        raise
