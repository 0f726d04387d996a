"""The life of a run: start or resume, train, test once, write the summary."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from dlrun.config.schema import TrainConfig
from dlrun.config.typed import to_plain_types
from dlrun.console import Console
from dlrun.data.info import info_of
from dlrun.errors import CodeError, Interrupted, RunFailed, UserError
from dlrun.evaluation.rehearsal import rehearse
from dlrun.files import os_error_line, write_json
from dlrun.models.pretrained import load_weights
from dlrun.registry import own_line, told
from dlrun.runs import provenance
from dlrun.runs.folder import RunFolder
from dlrun.runs.loggers import LoggedRun, Tracker, is_logged, open_loggers
from dlrun.runs.progress import ProgressView
from dlrun.runs.signals import StopRequest
from dlrun.runs.status import Log, StatusWriter
from dlrun.text import flatten
from dlrun.training import checkpoint
from dlrun.training.assemble import Experiment, assemble, facts
from dlrun.training.final_test import final_test, inference_of
from dlrun.training.inputs import Inputs, demand_run
from dlrun.training.loop import Loop, Progress
from dlrun.training.ranks import SINGLE, Ranks
from dlrun.training.teacher import verify_teacher


@dataclass(frozen=True)
class Result:
    """The outcome of a finished run."""

    folder: RunFolder
    summary: dict[str, Any]

    @property
    def value(self) -> float | None:
        """The one number for a sweeper: the best val value of the method's key metric."""
        value = self.summary["best"]["val"]
        return None if value is None else float(value)


def train(
    config: TrainConfig,
    folder: RunFolder,
    console: Console,
    ranks: Ranks = SINGLE,
    compared: Mapping[str, RunFolder] = MappingProxyType({}),
) -> Result:
    """Trains `config` in `folder`, from its last checkpoint where it has one.

    Args:
        config: whatever it needs has been trained.
        folder: of the run; of several processes the main one writes there.
        console: for people.
        ranks: the processes that train it together; all get the result.
        compared: runs that it is compared with at its test, by role.

    Raises:
        UserError: something asked for cannot be had.
        RunFailed: not finite, or out of memory; the last good checkpoint is kept.
        Interrupted: stopped on request, with a checkpoint.
    """
    with _own_folder(folder, ranks) as own, StopRequest(not ranks.main) as stop:
        return _train(config, folder, own, console, stop, ranks, compared)


@contextmanager
def _own_folder(folder: RunFolder, ranks: Ranks) -> Iterator[RunFolder]:
    """Where this process writes: the run's folder, locked, or one that is thrown away."""
    if ranks.main:
        folder.lock()
        try:
            yield folder
        finally:
            folder.unlock()
        return
    aside = Path(tempfile.mkdtemp(prefix="dlrun-"))
    try:
        yield RunFolder(aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _train(
    config: TrainConfig,
    folder: RunFolder,
    own: RunFolder,
    console: Console,
    stop: StopRequest,
    ranks: Ranks,
    compared: Mapping[str, RunFolder],
) -> Result:
    plain = to_plain_types(config)
    own.prepare(plain)
    own.add_command(provenance.command_line())
    log = Log(own.log, console)
    with (
        StatusWriter(own, 0, 0) as status,
        _failure_recorded(config, status, log),
        torch.random.fork_rng(devices=[]),
    ):
        with ranks.main_first():
            inputs = Inputs(folder, Path(config.outputs), plain["dataset"])
            began = folder.read_provenance() if folder.last.exists() else {}
            experiment = assemble(config, inputs, ranks, began)
            own.record_places(plain)
            _demand_same_data(plain, facts(experiment.data), compared)
        with experiment.hardware.applied():
            progress = _restore(experiment, folder)
            hardware = experiment.hardware.line
            hardware += f", {ranks.size} processes" if ranks.size > 1 else ""
            progress.run = provenance.record(
                own, hardware, facts(experiment.data), experiment.length, plain, progress.run
            )
            status.status.step, status.status.total = progress.step, experiment.total_steps
            logged = {key: value for key, value in flatten(plain).items() if is_logged(key)}
            run = LoggedRun(own.path, progress.step, logged)
            loggers = open_loggers(config.logger, run) if ranks.main else []
            tracker = Tracker(own, progress.step, loggers)
            _announce(log, experiment, hardware, folder, progress)
            try:
                _fit(experiment, own, tracker, status, log, progress, stop)
                own.prepare(plain)  # somebody may have removed what the test needs
                summary = ranks.on_main_rank(
                    lambda: final_test(experiment, folder, tracker, progress, stop, compared)
                )
            finally:
                tracker.close()
        status.status.step = progress.step
        write_json(own.summary, summary)
        status.end("completed")
        log.keep(f"completed: {summary['test']['last']}")
    return Result(folder, summary)


def _demand_same_data(
    plain: dict[str, Any], data: dict[str, Any], compared: Mapping[str, RunFolder]
) -> None:
    """The runs that it is compared with saw the data that are there now. Raises UserError."""
    for role, other in compared.items():
        known = other.read_provenance().get("data")
        config = other.read_config() if known else {}
        if any(config.get(key) != plain[key] for key in ("dataset", "bias")):
            continue
        if known and (changed := provenance.change(known, data)):
            raise UserError(
                f"{role}: {other} was trained on other data ({changed}); delete it, and it is "
                f"trained anew: dlrun rm {other}"
            )


def _fit(
    experiment: Experiment,
    own: RunFolder,
    tracker: Tracker,
    status: StatusWriter,
    log: Log,
    progress: Progress,
    stop: StopRequest,
) -> None:
    """Trains from `progress` to the end. Raises Interrupted where it is asked to stop."""
    config = experiment.config
    inference = inference_of(experiment, experiment.method)
    rehearse(inference)
    if not progress.step and (verified := verify_teacher(inference)):
        log.say(verified)
    described = describe(to_plain_types(config), experiment)
    typed = own.typed_commands()
    described["provenance"]["command"] = typed[0][20:] if typed else ""
    batch = config.batch_size * config.accumulate
    total = experiment.total_steps
    view = ProgressView(log, total, progress.step, batch, experiment.steps_per_epoch)
    loop = Loop(experiment, inference, own, tracker, view, status, progress, described)
    with view:
        finished = loop.run(stop)
    if not finished:
        assert stop.signal is not None
        if not experiment.ranks.main:  # the main process says it
            raise SystemExit(128 + stop.signal)
        raise Interrupted(stop.signal, f"stopped at step {progress.step}, saved")
    if loop.stopped_early:
        log.say(
            f"stopped early at step {progress.step} of {total}: {config.patience} evaluations "
            f"without a better val {experiment.method.key_metric}"
        )


@contextmanager
def _failure_recorded(config: TrainConfig, status: StatusWriter, log: Log) -> Iterator[None]:
    """status.json and log.txt say how a run ended.

    Memory errors say what to lower, mistakes in the user's own code at which line they are.
    """
    try:
        yield
        return
    except Interrupted as stopped:
        status.end("interrupted", str(stopped))
        log.keep(str(stopped))
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and own_line(error) is None:  # another rank of the run
            raise
        if isinstance(error, UserError) and not isinstance(error, CodeError):
            status.end("failed", str(error))
            log.keep(str(error))
            raise
        of_machine = isinstance(error, OSError) and error.errno is not None
        if _is_out_of_memory(error):
            reason = _out_of_memory(config, error)
        elif said := told(error, () if of_machine else _own_names(config)):
            reason = f"{said} (the run's log.txt has the whole traceback)"
        elif isinstance(error, OSError) and of_machine:
            reason = os_error_line(error)
        else:
            reason = ""
        with suppress(OSError):  # of a full disk, or of a folder that is gone: the first one counts
            log.keep_failure(error)
            status.end("failed", reason or f"{type(error).__name__}: {error}")
        if not reason:
            raise
    # Raised outside of the except block: the old exception's traceback would keep the model alive.
    raise RunFailed(reason)


def _own_names(config: TrainConfig) -> list[str]:
    """The classes of the user's own that the config names, as my_file:MyClass."""
    plain = flatten(to_plain_types(config))
    return [value for key, value in plain.items() if key.endswith(".name") and ":" in value]


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in ("can't allocate memory", "out of memory")
    )


def _out_of_memory(config: TrainConfig, error: BaseException) -> str:
    asked = re.search(r"allocate (\d[\d.]* ?\w*)", str(error))
    options = to_plain_types(config.model)
    second = next((f"model.{k}={v}" for k, v in options.items() if k in ("width", "hidden")), None)
    return (
        f"out of memory{f' when asking for {asked[1]}' if asked else ''}: lower "
        f"batch_size={config.batch_size} (accumulate=2 keeps the gradients' batch) or "
        f"{second or 'dataset.size'}"
    )


def _restore(experiment: Experiment, folder: RunFolder) -> Progress:
    """From last.pt where there is one; every random number follows from the step alone."""
    if not folder.last.exists():
        return Progress()
    device = experiment.hardware.device
    content = checkpoint.load_own(folder, folder.last, device)
    demand_run(content, str(folder.last))
    names = [one.name for one in fields(Progress)]
    if missing := [name for name in names if name not in content]:
        raise UserError(f"{folder.last}: {missing[0]} is missing; the run cannot be resumed")
    load_weights(experiment.method, content["method"], str(folder.last))
    try:
        experiment.update.load_state_dict(content)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"{folder.last}: its optimizers do not fit the method as its code is now ({first})"
        ) from error
    if content["step"] > experiment.total_steps:
        raise UserError(
            f"{folder.last}: is of step {content['step']}, the run has {experiment.total_steps}"
        )
    return Progress(**{name: content[name] for name in names})


def describe(plain: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """What makes a checkpoint usable by itself: config, shapes, classes, normalisation, origin."""
    trained = experiment.trained
    return {
        "provenance": provenance.brief(),
        "config": plain,
        "data": to_plain_types(info_of(experiment.data)),
        "pixels": experiment.method.pixels,
        "parts": dict(experiment.method.parts),
        "rows": len(experiment.data.train),
        "inputs": trained.taken if isinstance(trained, Inputs) else {},
    }


def _announce(
    log: Log, experiment: Experiment, hardware: str, folder: RunFolder, progress: Progress
) -> None:
    config, data = experiment.config, experiment.data
    count = sum(p.numel() for p in experiment.method.parameters() if p.requires_grad)
    shape = " x ".join(str(side) for side in data.image_shape)
    lines = [
        f"{config.method.name} on {config.dataset.name}: {len(data.train):,} train, "
        f"{len(data.val):,} val, {len(data.test):,} test images of {shape}, {count:,} parameters",
        f"hardware: {hardware}",
        f"run: {folder}",
    ]
    lines += experiment.report
    if progress.step:
        lines.append(f"resumed at step {progress.step} of {experiment.total_steps}")
    elif len(folder.typed_commands()) > 1:
        lines.append("no checkpoint had been saved yet: it starts anew")
    for line in lines:
        log.say(line)
