"""The loop: the same for every method."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dlrun.errors import CodeError, RunFailed, UserError
from dlrun.evaluation.evaluate import evaluate
from dlrun.evaluation.features import queries
from dlrun.evaluation.inference import Inference
from dlrun.evaluation.metrics import describe
from dlrun.evaluation.pictures import pictures, view_picture
from dlrun.methods.hooks import BeforeEpoch, Warns
from dlrun.randomness import seed_everything
from dlrun.registry import place
from dlrun.runs.folder import RunFolder
from dlrun.runs.loggers import Tracker
from dlrun.runs.progress import ProgressView
from dlrun.runs.signals import StopRequest
from dlrun.runs.status import StatusWriter
from dlrun.text import given, some
from dlrun.training import checkpoint
from dlrun.training.assemble import Experiment

_ABSURD, _FOR_STEPS = 1e6, 5  # a loss so many times its first value, for so many batches
_HISTOGRAMS = 16  # of as many columns of a value, those that vary most


def take_step(experiment: Experiment, step: int) -> list[dict[str, Tensor]]:
    """One optimizer step: its batches, drawn on the device, and the method's step on each.

    Returns:
        The metrics of each batch, tensors () on the device.
    """
    accumulate, update, metrics = experiment.config.accumulate, experiment.update, []
    method, device = experiment.method, experiment.hardware.device
    known = None if step else method.state_dict().keys()
    epoch, in_epoch = divmod(step, experiment.steps_per_epoch)
    of_epoch = max(experiment.batches.length // experiment.config.batch_size, accumulate)
    for part in range(accumulate):
        # What is left of an epoch's batches is skipped, so that each epoch begins with a step.
        number = epoch * of_epoch + in_epoch * accumulate + part
        seed_everything(experiment.config.seed, "step", number, *experiment.ranks.purpose)
        batch = experiment.batches.draw(number)
        update.begin(step, last_batch=part == accumulate - 1)
        with experiment.hardware.autocast(), _enough_for_batch_norm(experiment):
            found = method.step(batch, update)
        _check_metrics(found, method.step, device)
        metrics.append({name: value.detach() for name, value in found.items()})
    update.finish(method.step)
    with torch.no_grad():
        method.after_update(update)
    if known is not None and (new := [name for name in method.state_dict() if name not in known]):
        raise CodeError(
            f"step() made new parameters or buffers ({', '.join(new[:3])}), which no optimizer "
            "trains and no checkpoint fits; expected all of them from __init__",
            method.step,
        )
    return metrics


@contextmanager
def _enough_for_batch_norm(experiment: Experiment) -> Iterator[None]:
    """Raises UserError where batch norm has a single value of each channel: one image, 1 x 1."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        config = experiment.config
        raise UserError(
            f"batch_size: got {config.batch_size}, but model {config.model.name} has batch norm on "
            f"maps of 1 x 1, which needs two images; expected an integer >= "
            f"{2 * experiment.ranks.size}, or a larger dataset.size"
        ) from error


def _check_metrics(found: object, code: object, device: torch.device) -> None:
    """What a step returned is a dict of scalar tensors. Raises CodeError."""
    if not isinstance(found, dict) or not found:
        what = "an empty dict" if isinstance(found, dict) else given(found)
        raise CodeError(
            f'step() returned {what}, expected a dict of scalar tensors, such as {{"loss": loss}}',
            code,
        )
    for name, value in found.items():
        number = isinstance(value, Tensor) and not value.ndim and not value.is_complex()
        if not number or value.device.type != device.type:
            on = f" on {value.device}" if isinstance(value, Tensor) else ""
            raise CodeError(
                f"step() returned {given(value)}{on} for {name!r}, expected a scalar tensor on "
                f"{device.type}; give the tensor, without item(), or its mean()",
                code,
            )
        if name == "lr":
            raise CodeError("step() returned 'lr', which is the learning rate's name", code)


def _check_names(names: Sequence[str], rows: Sequence[Mapping[str, Tensor]], code: object) -> None:
    """Every step gives what the first one gave. Raises CodeError."""
    for row in rows:
        if row.keys() != set(names):
            raise CodeError(
                f"step() returned {', '.join(row)}, but {', '.join(names)} before; expected the "
                "same names at every step",
                code,
            )


def before_epoch(experiment: Experiment, inference: Inference, step: int) -> dict[str, Tensor]:
    """The method's look at the train split before the epoch that begins with `step`.

    Under a seed of its own; empty for a method that has none.
    """
    method, table = experiment.method, experiment.data.train
    if not isinstance(method, BeforeEpoch):
        return {}
    seed_everything(experiment.config.seed, "survey", step)

    def over(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        with inference.evaluating():
            return inference.over(table, function, rows)

    with torch.no_grad():
        return method.before_epoch(table, over)


def widest(name: str, value: Tensor) -> dict[str, Tensor]:
    """Values (N,) as they are; of values (N, D) the columns that vary most, by name and number."""
    if value.ndim == 1:
        return {name: value}
    order = value.var(0, correction=0).argsort(descending=True)[:_HISTOGRAMS]
    return {f"{name}/{column:02d}": value[:, column] for column in order.tolist()}


@dataclass
class Progress:
    """How far a run has come: what a checkpoint holds in addition to the weights."""

    step: int = 0
    seconds: float = 0.0
    best_value: float | None = None
    best_step: int | None = None
    val: dict[str, float] = field(default_factory=dict)
    """The latest evaluation."""
    val_step: int | None = None
    warnings: list[str] = field(default_factory=list)
    """Of the latest evaluation."""
    pending: list[dict[str, Tensor]] = field(default_factory=list)
    """The metrics of each step since the last log, still on the device."""
    run: str | None = None
    """The run's identity, which tells it from another run of the same config."""
    first: dict[str, float] = field(default_factory=dict)
    """The first value of each loss."""
    absurd: dict[str, int] = field(default_factory=dict)
    """For how many batches up to the last log each loss has been absurdly large."""


class Loop:
    """Trains an experiment from its last step to its end, or to a request to stop."""

    def __init__(
        self,
        experiment: Experiment,
        inference: Inference,
        folder: RunFolder,
        tracker: Tracker,
        view: ProgressView,
        status: StatusWriter,
        progress: Progress,
        described: dict[str, Any],
    ) -> None:
        self.experiment, self.inference, self.folder = experiment, inference, folder
        self.tracker, self.view, self.status = tracker, view, status
        self.progress, self.described = progress, described
        self.ranks = experiment.ranks
        config = experiment.config
        self.log_every = experiment.steps(config.log_every)
        self.eval_every = experiment.steps(config.eval_every)
        self.save_seconds = config.checkpoint_every.seconds
        self.save_steps = 0 if self.save_seconds else experiment.steps(config.checkpoint_every)
        self._saved_at = time.monotonic()
        self._saved_step = progress.step
        self._names: list[str] = []  # that the first step gave
        self._clock = time.monotonic()

    def run(self, stop: StopRequest) -> bool:
        """Trains; True at the end of the run, False if it was asked to stop (and has saved)."""
        self.experiment.method.train()
        self._clock = time.monotonic()
        if not self.progress.step:
            self._before_epoch()
        while not self.finished:
            found = take_step(self.experiment, self.progress.step)
            self._names = self._names or list(found[0])
            _check_names(self._names, found, self.experiment.method.step)
            self.progress.pending += found
            self.progress.step += 1
            self._after_step()
            (signal,) = self.ranks.all_reduce_max(stop.signal or 0)
            if signal and not self.finished:
                stop.signal = signal  # it may have reached another process alone
                self.save()
                return False
        return True

    @property
    def finished(self) -> bool:
        """At the end, or out of patience: a function of what a checkpoint holds."""
        return self.progress.step >= self.experiment.total_steps or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether none of the last `patience` evaluations improved the key metric."""
        patience, progress = self.experiment.config.patience, self.progress
        if patience is None or progress.best_step is None:
            return False
        return progress.step - progress.best_step >= patience * self.eval_every

    def _after_step(self) -> None:
        step = self.progress.step
        last = step == self.experiment.total_steps
        evaluated = step % self.eval_every == 0 or last
        if step % self.log_every == 0 or last:
            self._log()
        if step == 1:
            self._show_views()
            self._warn_of_untrained_and_unsaved()
        if step % self.experiment.steps_per_epoch == 0 and not last:
            self._before_epoch()  # now, so that the checkpoint holds what it found
        if evaluated:
            self._evaluate()
        if self.finished and self.progress.pending:  # out of patience
            self._log()
        (due,) = self.ranks.all_reduce_max(int(self._save_due()))  # their clocks differ
        # Several processes are more easily lost: there is a checkpoint from the first step on.
        if due or self.finished or (step == 1 and self.ranks.size > 1):
            self.save()
        self.status.status.step = step

    def _before_epoch(self) -> None:
        step = self.progress.step
        found = before_epoch(self.experiment, self.inference, step)
        if not isinstance(found, dict):
            code = getattr(self.experiment.method, "before_epoch", None)
            raise CodeError(f"before_epoch() returned {given(found)}, expected a dict", code)
        numbers = {name: float(value) for name, value in found.items() if not value.ndim}
        if numbers:
            named = {f"epoch/{name}": value for name, value in numbers.items()}
            self.tracker.log(step, self._seconds(), named)
        for name, value in found.items():
            if value.ndim:
                self.tracker.histograms(step, widest(name, value))

    def _show_views(self) -> None:
        """What the network sees; after the first step, so as not to delay it."""
        seed_everything(self.experiment.config.seed, "step", 0)
        batch = self.experiment.batches.draw(0)
        picture = view_picture(batch, self.experiment.scale)
        if picture is not None:
            self.tracker.picture(0, "views", picture)

    def _warn_of_untrained_and_unsaved(self) -> None:
        """Of what the first step could not train: often something was detached by mistake.

        And of tensors that an own method keeps but no checkpoint does, as a resumed run lacks them.
        """
        method, update = self.experiment.method, self.experiment.update
        plain = [name for name, value in vars(method).items() if isinstance(value, Tensor)]
        if plain and place(type(method)):
            lost = ", ".join(plain[:3])
            line = (
                f"plain tensors, in no checkpoint and so lost on resume: {lost}; where later steps"
            )
            self.view.warn([f"{line} need them, use self.register_buffer() in __init__"])
        held = {id(p) for group in update.parameters.values() for p in group}
        missed = held - update.reached
        names = [name for name, p in method.named_parameters() if id(p) in missed]
        if names:
            self.view.warn([f"without a gradient in the first step, so not trained: {some(names)}"])

    def _seconds(self) -> float:
        """Training time of this run so far, over all resumes."""
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self._clock = now
        return self.progress.seconds

    def _log(self) -> None:
        """The one synchronisation: means over the steps since the last."""
        means = self._means(is_logged=True)
        self.progress.pending.clear()
        numbers = {f"train/{name}": value for name, value in means.items()}
        numbers["train/lr"] = self.experiment.update.learning_rate
        self.tracker.log(self.progress.step, self._seconds(), numbers)
        self.view.update(self.progress.step, {k: v for k, v in numbers.items() if k != "train/lr"})
        self.tracker.scalars(self.progress.step, {"time/images_per_second": self.view.rate})

    def _means(self, is_logged: bool = False) -> dict[str, float]:
        pending = self.progress.pending
        if not pending:
            return {}
        names = list(pending[0])
        table = torch.stack(
            [torch.stack([row[n].float() for n in names]) for row in pending]
        ).cpu()  # not every device has float64
        table = table.double()
        table = self.ranks.average(table)
        self._demand_finite(names, table)
        if is_logged:  # each batch is looked at once
            self._demand_converging(names, table)
        return dict(zip(names, table.mean(0).tolist(), strict=True))

    def _demand_finite(self, names: list[str], table: Tensor) -> None:
        """Raises RunFailed with the first step and the first metric that is NaN or infinite."""
        wrong = (~table.isfinite()).nonzero()
        if not len(wrong):
            return
        row, column = wrong[0].tolist()
        raise self._failed(
            names[column], table, row, column, "", "; hardware=debug names the operation"
        )

    def _demand_converging(self, names: list[str], table: Tensor) -> None:
        """Raises RunFailed where a loss has stayed at an absurd multiple of its first value."""
        progress = self.progress
        for column, name in enumerate(names):
            if not name.startswith("loss"):
                continue
            first = progress.first.setdefault(name, abs(table[0, column].item()))
            absurd = table[:, column].abs() > _ABSURD * max(1.0, first)
            run = progress.absurd.get(name, 0)
            for row, value in enumerate(absurd.tolist()):
                run = run + 1 if value else 0
                if run == _FOR_STEPS:
                    times = f", {table[row, column].item() / max(1.0, first):.0e} times its first"
                    raise self._failed(name, table, row, column, times, "")
            progress.absurd[name] = run

    def _failed(
        self, name: str, table: Tensor, row: int, column: int, of: str, hint: str
    ) -> RunFailed:
        step = self.progress.step - (len(table) - 1 - row) // self.experiment.config.accumulate
        before = self._saved_step
        kept = (
            f"the checkpoint of step {before} is kept" if before else "no checkpoint was saved yet"
        )
        return RunFailed(
            f"train/{name} is {table[row, column].item():.4g}{of} at step {step}; {kept}. "
            f"Lower optimizer.lr or set optimizer.clip_norm{hint}"
        )

    def _evaluate(self) -> None:
        """On val, under its own fixed seed, by the main process; a new best is kept."""
        experiment, progress = self.experiment, self.progress
        seed, main = experiment.config.seed, self.ranks.main
        numbers: dict[str, float] = self.ranks.from_main(
            evaluate(self.inference, "val", seed, full=False) if main else {}
        )
        progress.val, progress.val_step = numbers, progress.step
        if numbers:
            named = {f"val/{name}": value for name, value in numbers.items()}
            self.tracker.log(progress.step, self._seconds(), named)
            self.view.update(progress.step, named)
        drawn = pictures(self.inference, seed) if main else {}
        for name, picture in drawn.items():
            self.tracker.picture(progress.step, name, picture)
        method = experiment.method
        key, own = method.key_metric, method.metrics
        labels = experiment.data.val.labels
        # Without labels there may be none: then the last weights count as the best.
        expected = key in own or (key is not None and labels is not None)
        if expected and numbers and key not in numbers:
            if key != "recall_at_1" or labels is None or queries(labels).any():
                raise CodeError(
                    f"key_metric {key!r} has no value in the val split; expected one of "
                    f"{', '.join(numbers)}, or one that validate() returns",
                    type(method),
                )
            self.view.warn(
                ["no two images of the val split have the same class, so recall@1 has no value "
                 "there: the last weights count as the best"]
            )  # fmt: skip
        if key in numbers and describe(key, own).better(numbers[key], progress.best_value):
            progress.best_value, progress.best_step = numbers[key], progress.step
            if main:
                checkpoint.save(self.folder.best, self.content())
        if main:
            progress.warnings = self._odd(numbers)
            if isinstance(method, Warns):
                said = method.warnings(numbers, experiment.update)
                if not isinstance(said, list):
                    raise CodeError(
                        f"warnings() returned {given(said)}, expected a list", method.warnings
                    )
                progress.warnings += said
            self.view.warn(progress.warnings)
            self.tracker.text(progress.step, "warnings", progress.warnings)

    def _odd(self, numbers: dict[str, float]) -> list[str]:
        """A line for what no val metric should be: not a number, or an absurd loss."""
        wrong = [name for name, value in numbers.items() if not math.isfinite(value)]
        lines = [f"not finite on val: {', '.join(wrong)}"] if wrong else []
        if "loss" in numbers and "loss" not in wrong:
            first = max(1.0, self.progress.first.get("loss", math.inf))
            if abs(numbers["loss"]) > _ABSURD * first:
                lines.append(
                    f"val/loss is {numbers['loss']:.3g} where training began with {first:.3g}: the "
                    "run has diverged; lower optimizer.lr or set optimizer.clip_norm"
                )
        return lines

    def _save_due(self) -> bool:
        if self.save_seconds is None:
            return self.progress.step % self.save_steps == 0
        return time.monotonic() - self._saved_at >= self.save_seconds

    def save(self) -> None:
        """Replaces last.pt in the main process, unless a value is not finite."""
        self._means()
        parameters = [p for p in self.experiment.method.parameters() if p.numel()]
        largest = torch.stack([p.detach().abs().max().float() for p in parameters]).max()
        if not math.isfinite(float(largest)):
            raise RunFailed(
                f"a weight is not finite after step {self.progress.step}; the last good checkpoint "
                "is kept. Lower optimizer.lr or set optimizer.clip_norm"
            )
        self._seconds()
        if self.ranks.main:
            self.tracker.sync()
            checkpoint.save(self.folder.last, self.content())
        self._saved_at, self._saved_step = time.monotonic(), self.progress.step

    def content(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        return {
            **self.described,
            **vars(self.progress),
            "method": self.experiment.method.state_dict(),
            **self.experiment.update.state_dict(),
        }
