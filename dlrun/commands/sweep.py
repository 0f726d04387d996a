"""`dlrun train -m`: Hydra's sweep syntax and launchers, our run folders.

A job's folder is named by its config's signature, so the same command again skips what is done and
goes on with what was cut off.
"""

import gc
import hashlib
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from dlrun.commands.console import log_to, make_console
from dlrun.config.compose import REFUSALS, config_source, explain, to_plain
from dlrun.config.explain import problems
from dlrun.config.signature import signature
from dlrun.errors import ConfigError, UserError
from dlrun.runs.folder import RunFolder


class JobFailed(Exception):
    """Tells Hydra that a job failed; carries no traceback that would keep its model alive."""


def sweep(overrides: list[str], config_dir: str | None) -> int:
    """Runs every job; 1 where one failed."""
    with config_source(config_dir) as loader:
        found = problems(loader, overrides, sweep=True)
    if found:
        raise ConfigError(found)
    console = make_console()
    log_to(console)
    rows: list[tuple[str, str, str, str]] = []
    own = "-".join(sorted(overrides))
    digest = hashlib.sha1(own.encode(), usedforsecurity=False).hexdigest()[:8]
    OmegaConf.register_new_resolver("sweep_name", lambda name: name or digest, replace=True)
    sys.argv = ["dlrun train", "-m", *overrides]
    if config_dir:
        sys.argv += ["--config-dir", config_dir]

    @hydra.main(version_base="1.3", config_path="pkg://dlrun.conf", config_name="train")
    def job(config: DictConfig) -> float | None:
        return _job(config, rows, console)

    try:
        job()
    except JobFailed:
        pass  # told when it happened; the others went on
    except REFUSALS as error:
        with config_source(config_dir) as loader:
            raise ConfigError(explain(loader, overrides, error)) from None
    finally:
        if rows:
            console.print(_table(rows))
    return 1 if any(state == "failed" for _, state, _, _ in rows) else 0


def _job(
    config: DictConfig, rows: list[tuple[str, str, str, str]], console: Console
) -> float | None:
    changed = " ".join(HydraConfig.get().overrides.task) or "(defaults)"
    console.print(f"\njob {len(rows)}: {changed}", highlight=False, markup=False)
    failure = None
    try:
        result = _train(config, console)
    except UserError as error:
        failure = str(error)
    except Exception as error:  # a bug of a method must not take the other jobs with it
        traceback.print_exc()
        failure = f"{type(error).__name__}: {error}"
    finally:
        _clean_up()
    if failure is not None:
        print(f"dlrun: job failed: {failure}", file=sys.stderr)
        rows.append((changed, "failed", failure.splitlines()[0][:60], ""))
        raise JobFailed(failure)
    summary, folder, was_done = result
    key = summary.get("key_metric")
    value = summary.get("best", {}).get("val")
    figure = f"val {key} {value:.4g}" if key and value is not None else ""
    rows.append((changed, "done before" if was_done else "completed", figure, str(folder)))
    return None if value is None else float(value)


def _train(config: DictConfig, console: Console) -> tuple[dict[str, Any], RunFolder, bool]:
    from dlrun.commands.present import present
    from dlrun.commands.start import prepare
    from dlrun.config.check import check, to_plain_types
    from dlrun.runs.files import read_json, write_json
    from dlrun.runs.status import read_status
    from dlrun.training.companions import settled
    from dlrun.training.run import train

    parent = Path(HydraConfig.get().sweep.dir)
    parent.mkdir(parents=True, exist_ok=True)
    meant = read_json(parent / "meant.json")  # the runs that names such as `last` meant at first
    typed = settled(check(to_plain(config)), meant)
    write_json(parent / "meant.json", meant)
    folder = RunFolder((parent / signature(to_plain_types(typed))).absolute())
    folder.path.mkdir(parents=True, exist_ok=True)
    status = read_status(folder)
    if status is not None and status.state == "completed":
        console.print(f"done before: {folder}", highlight=False, markup=False)
        return read_json(folder.summary), folder, True
    result = train(prepare(typed, console), folder, console)
    present(result, console, next_steps=False)
    return result.summary, folder, False


def _clean_up() -> None:
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def _table(rows: list[tuple[str, str, str, str]]) -> Table:
    table = Table(title="sweep", title_justify="left")
    for column in ("job", "status", "figure", "run"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
