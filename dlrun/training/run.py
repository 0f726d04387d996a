"""The life of a run: begin or go on, train, judge once, sum up."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from dlrun import __version__
from dlrun.config.check import to_plain_types
from dlrun.config.schema import TrainConfig
from dlrun.config.typed import flatten
from dlrun.errors import Interrupted, RunFailed, UserError
from dlrun.runs import provenance
from dlrun.runs.files import write_json
from dlrun.runs.folder import RunFolder
from dlrun.runs.log import Log
from dlrun.runs.progress import ProgressView
from dlrun.runs.signals import StopRequest
from dlrun.runs.status import StatusWriter
from dlrun.runs.tracking import Tracker
from dlrun.training import checkpoint
from dlrun.training.assemble import Experiment, assemble
from dlrun.training.inputs import Inputs
from dlrun.training.judge import inference_of, judge
from dlrun.training.loop import Loop, Progress
from dlrun.training.quality import quality_of
from dlrun.training.verify import verify_teacher


@dataclass(frozen=True)
class Result:
    """What a finished run tells."""

    folder: RunFolder
    summary: dict[str, Any]

    @property
    def value(self) -> float | None:
        """The one number for a sweeper: the best val value of the method's key metric."""
        value = self.summary["best"]["val"]
        return None if value is None else float(value)


def train(config: TrainConfig, folder: RunFolder, console: Console) -> Result:
    """Trains `config` in `folder`, from its last checkpoint where it has one.

    Raises:
        UserError: something asked for cannot be had.
        RunFailed: not finite, or out of memory; the last good checkpoint is kept.
        Interrupted: stopped on request, with a checkpoint.
    """
    folder.lock()
    try:
        with StopRequest() as stop:
            return _train(config, folder, console, stop)
    finally:
        folder.unlock()


def _train(config: TrainConfig, folder: RunFolder, console: Console, stop: StopRequest) -> Result:
    plain = to_plain_types(config)
    folder.prepare(plain)
    folder.add_command(provenance.command_line())
    status, log = StatusWriter(folder, 0, 0), Log(folder.log, console)
    with _failures_told(config, status, log), torch.random.fork_rng(devices=[]):
        inputs = Inputs(folder, Path(config.outputs), plain["dataset"])
        experiment = assemble(config, inputs)
        method, hardware = experiment.method, experiment.hardware
        provenance.record(folder, hardware.line, experiment.data.checksum, plain)
        with hardware.applied():
            progress = _restore(experiment, folder)
            status.status.step, status.status.total = progress.step, experiment.total_steps
            tracker = Tracker(folder, progress.step, flatten(plain, _is_hparam))
            _announce(log, experiment, folder, progress)
            try:
                view = ProgressView(
                    log,
                    experiment.total_steps,
                    progress.step,
                    config.batch_size * config.accumulate,
                    experiment.steps_per_epoch,
                )
                inference = inference_of(experiment, method)
                if not progress.step and (verified := verify_teacher(inference)):
                    log.say(verified)
                loop = Loop(
                    experiment, inference, folder, tracker, view, status, progress,
                    lambda: describe(plain, experiment),
                )  # fmt: skip
                with view:
                    finished = loop.run(stop)
                if not finished:
                    assert stop.signal is not None
                    raise Interrupted(stop.signal, f"stopped at step {progress.step}, saved")
                if loop.stopped_early:
                    log.say(
                        f"stopped early at step {progress.step} of {experiment.total_steps}: "
                        f"{config.patience} evaluations without a better val {method.key_metric}"
                    )
                quality = quality_of(
                    experiment, lambda other, where: train(other, where, console), log.say, stop
                )
                summary = judge(experiment, folder, tracker, progress, stop, quality)
            finally:
                tracker.close()
        status.status.step = progress.step
        write_json(folder.summary, summary)
        status.end("completed")
        log.keep(f"completed: {summary['test']['last']}")
    return Result(folder, summary)


@contextmanager
def _failures_told(config: TrainConfig, status: StatusWriter, log: Log) -> Iterator[None]:
    """status.json and log.txt say how a run ended; memory errors say what to lower."""
    try:
        yield
        return
    except Interrupted as stopped:
        status.end("interrupted", str(stopped))
        log.keep(str(stopped))
        raise
    except UserError as error:
        status.end("failed", str(error))
        log.keep(str(error))
        raise
    except Exception as error:
        log.keep_failure(error)
        if not _is_out_of_memory(error):
            status.end("failed", f"{type(error).__name__}: {error}")
            raise
        told = _out_of_memory(config, error)
        status.end("failed", told)
    # Raised outside of the except block: the old exception's traceback would keep the model alive.
    raise RunFailed(told)


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
    content = checkpoint.load(folder.last, device)
    try:
        experiment.method.load_state_dict(content["method"])
        experiment.update.load_state_dict(content)
    except (RuntimeError, KeyError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(
            f"{folder.last}: does not fit the method as its code is now ({first})"
        ) from error
    return Progress(
        content["step"],
        content["seconds"],
        content["best_value"],
        content["best_step"],
        content.get("val", {}),
        content.get("val_step"),
        content.get("warnings", []),
        content["pending"],
    )


def describe(plain: dict[str, Any], experiment: Experiment) -> dict[str, Any]:
    """What makes a checkpoint usable by itself: config, shapes, classes, normalisation."""
    data = experiment.data
    return {
        "dlrun": __version__,
        "config": plain,
        "image_shape": list(data.image_shape),
        "class_names": list(data.class_names),
        "pixels": experiment.method.pixels,
        "parts": dict(experiment.method.parts),
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "data_checksum": data.checksum,
    }


def _is_hparam(key: str) -> bool:
    """Whether it is worth a column of TensorBoard's table, which shows the first few by name."""
    aside = (
        "augment.",
        "hardware.",
        "outputs",
        "data_dir",
        "log_every",
        "checkpoint_every",
        "name",
    )
    return not key.startswith(aside)


def _announce(log: Log, experiment: Experiment, folder: RunFolder, progress: Progress) -> None:
    config, data = experiment.config, experiment.data
    count = sum(p.numel() for p in experiment.method.parameters() if p.requires_grad)
    shape = " x ".join(str(side) for side in data.image_shape)
    lines = [
        f"{config.method.name} on {config.dataset.name}: {len(data.train):,} train, "
        f"{len(data.val):,} val, {len(data.test):,} test images of {shape}, {count:,} parameters",
        f"hardware: {experiment.hardware.line}",
        f"run: {folder}",
    ]
    lines += experiment.report
    if progress.step:
        lines.append(f"resumed at step {progress.step} of {experiment.total_steps}")
    for line in lines:
        log.say(line)
