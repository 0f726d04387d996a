"""What a run measures: in metrics.jsonl and samples/ always, and in the loggers that it chooses."""

import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, runtime_checkable

from dlrun.config.signature import computes
from dlrun.errors import RunFailed, UserError
from dlrun.files import atomic, naming, read_jsonl, write_text
from dlrun.options import Choice
from dlrun.registry import lookup, one_line, own_line
from dlrun.runs.folder import RunFolder
from dlrun.runs.shapes import ROW, misfit

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class LoggedRun:
    """What a logger knows of its run.

    Attributes:
        folder: the run's; its name is unique in the folder above.
        step: where the training starts, 0 or the step of a checkpoint. What the logger has of later
            steps will come again, with the same values.
        options: the config, flat, such as `optimizer.lr`.
    """

    folder: Path
    step: int
    options: Mapping[str, Any]


class Logger(Protocol):
    """A class of the config group `logger`, made with `(config, run)`.

    Called by the main process alone, in the order of the steps.
    """

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers after `step` optimizer steps, such as train/loss; finite or not."""

    def image(self, step: int, name: str, image: "Tensor") -> None:
        """A picture (C, H, W) in [0, 1], with one or three channels."""

    def histogram(self, step: int, name: str, values: "Tensor") -> None:
        """How values (N,) are distributed."""

    def text(self, step: int, name: str, text: str) -> None:
        """Lines for people, such as a method's warnings."""

    def close(self) -> None:
        """The end of the training, whether it is complete or not."""


@runtime_checkable
class Flushes(Protocol):
    """A logger that keeps what it was given in memory for a while."""

    def flush(self) -> None:
        """Writes it, before a checkpoint says that it was logged."""


class TensorBoard:
    """The logger that every run has by default.

    Writes to the folder `tensorboard` of a run, and the config to its HParams page.
    """

    @dataclass(frozen=True)
    class Config:
        pass

    def __init__(self, config: Config, run: LoggedRun) -> None:
        self.run = run
        self._writer: SummaryWriter | None = None

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One curve for each name."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def image(self, step: int, name: str, image: "Tensor") -> None:
        """On the Images page."""
        self.writer.add_image(name, image, step)

    def histogram(self, step: int, name: str, values: "Tensor") -> None:
        """On the Histograms page."""
        self.writer.add_histogram(name, values, step, bins=30)  # as TensorBoard draws

    def text(self, step: int, name: str, text: str) -> None:
        """On the Text page."""
        self.writer.add_text(name, text, step)

    def flush(self) -> None:
        """Writes what is queued, so that a killed run has every step up to its checkpoint."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes."""
        if self._writer is not None:
            self._writer.close()

    @property
    def writer(self) -> "SummaryWriter":
        """Made at first use: its import must not delay the first step."""
        if self._writer is None:
            folder = self.run.folder / "tensorboard"
            cut_back_events(folder, self.run.step)
            # Tells a TensorBoard that shows the run right now to forget the later steps, too.
            purge = self.run.step + 1 if self.run.step else None
            self._writer = summary_writer(folder, purge_step=purge)
            if not self.run.step:
                self._write_hparams(self._writer)
        return self._writer

    def _write_hparams(self, writer: "SummaryWriter") -> None:
        """Into the run's own file; `add_hparams` would make a second run of it.

        Without the summary of an experiment that `hparams` returns first: TensorBoard takes the
        first such summary that it finds for all runs, and keys which only others have are lost.
        Where there is none it looks through every run, and puts the keys that differ first.
        """
        from torch.utils.tensorboard.summary import hparams

        flat = {
            key: v if isinstance(v, bool | int | float | str) else str(v)
            for key, v in self.run.options.items()
        }
        _, start, end = hparams(flat, {})
        for summary in (start, end):
            writer._get_file_writer().add_summary(summary)


def summary_writer(folder: Path, purge_step: int | None = None) -> "SummaryWriter":
    """TensorBoard's writer to a folder.

    An error of its thread, such as a full disk, is raised at the next call and printed only there.
    """
    from torch.utils.tensorboard import SummaryWriter

    threading.excepthook = _raised_later
    folder.mkdir(parents=True, exist_ok=True)
    name = str(folder)
    if name != name.encode(errors="replace").decode():  # TensorBoard opens names in UTF-8 only
        name = f"/proc/self/fd/{os.open(folder, os.O_RDONLY)}"
    return SummaryWriter(name, purge_step=purge_step)


def _raised_later(arguments: "threading.ExceptHookArgs") -> None:
    if not isinstance(arguments.exc_value, OSError):
        threading.__excepthook__(arguments)


def open_loggers(choices: Mapping[str, Choice], run: LoggedRun) -> list[Logger]:
    """The loggers of a run. Raises UserError for one that cannot be made."""
    loggers: list[Logger] = []
    for key, choice in choices.items():
        try:
            loggers.append(lookup("logger", choice.name)(choice.options, run))
        except Exception as error:  # whatever a user's own class raises
            line = own_line(error)
            at = f" at {line}" if line else ""
            raise UserError(f"logger.{key}: {choice.name} failed{at}: {one_line(error)}") from error
    return loggers


class Tracker:
    """Writes what a run measures.

    Args:
        folder: the run's.
        step: where the run starts; whatever metrics.jsonl holds of later steps is cut off, since it
            will be computed again.
        loggers: that everything is also written to.
    """

    def __init__(self, folder: RunFolder, step: int, loggers: Sequence[Logger] = ()) -> None:
        self.folder, self.loggers = folder, loggers
        cut_back(folder.metrics, step or -1)  # what comes before the first step is repeated
        self._file: IO[str] = open(folder.metrics, "a", encoding="utf-8")  # noqa: SIM115

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl, and the same scalars to the loggers.

        Args:
            step: optimizer steps taken.
            seconds: of training so far, over all resumes.
            values: finite or not; JSON spells NaN and Infinity as Python does.
        """
        line = json.dumps({"step": step, "time": round(seconds, 3), **values}) + "\n"
        with naming(self.folder.metrics):
            self._file.write(line)
            self._file.flush()
        self.scalars(step, values)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """To the loggers alone: for what depends on the clock."""
        for logger in self.loggers:
            logger.scalars(step, values)

    def summary(self, step: int, seconds: float, images: int, key: Mapping[str, float]) -> None:
        """The end of a run, in five scalars that every method has.

        TensorBoard's HParams page shows five metrics at first, in alphabetical order, and its
        parallel coordinates leave out each run that lacks one of them.

        Args:
            step: optimizer steps taken.
            seconds: of training.
            images: that were trained on, each time counted.
            key: the test split's key metric, `best` and `last`; empty where it has none.
        """
        rate = images / seconds if seconds else 0.0
        values = {**key, "images_per_second": rate, "seconds": seconds, "steps": float(step)}
        self.scalars(step, {f"summary/{name}": value for name, value in values.items()})

    def histograms(self, step: int, values: Mapping[str, "Tensor"]) -> None:
        """To the loggers alone: how values (N,) are distributed."""
        for logger in self.loggers:
            for name, numbers in values.items():
                logger.histogram(step, name, numbers)

    def picture(self, step: int, name: str, image: "Tensor") -> Path:
        """A grid (C, H, W) in [0, 1] as samples/NAME-STEP.png and to the loggers."""
        path = self.folder.samples / f"{name}-{step:06d}.png"
        _save_png(image, path)
        for logger in self.loggers:
            logger.image(step, name, image)
        return path

    def text(self, step: int, name: str, lines: Sequence[str]) -> None:
        """To the loggers alone, since log.txt has it anyway; nothing without lines."""
        for logger in self.loggers if lines else ():
            logger.text(step, name, "\n\n".join(lines))

    def sync(self) -> None:
        """To the disk, before a checkpoint says that these lines exist.

        Raises:
            RunFailed: somebody has removed the file.
        """
        if not os.fstat(self._file.fileno()).st_nlink:
            raise RunFailed(f"{self.folder.metrics} was removed while the run writes to it")
        with naming(self.folder.metrics):
            os.fsync(self._file.fileno())
        for logger in self.loggers:
            if isinstance(logger, Flushes):
                logger.flush()

    def close(self) -> None:
        """Flushes and closes."""
        self._file.close()
        for logger in self.loggers:
            logger.close()


def is_logged(key: str) -> bool:
    """Whether an option is worth a column in a table of runs, which shows the first few by name."""
    return computes(key) and not key.startswith(("augment.", "hardware."))


def cut_back(path: Path, step: int) -> None:
    """Drops the lines of metrics.jsonl after `step`, and a last line that was not finished."""
    if path.exists():
        whole = takewhile(lambda row: not misfit(row, ROW), read_jsonl(path))
        rows = takewhile(lambda row: row["step"] <= step, whole)
        write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def cut_back_events(folder: Path, step: int) -> None:
    """Drops what TensorBoard's files hold of later steps than `step`, and all of it at 0."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    for path in folder.glob("events.out.tfevents.*"):
        if not step:  # what comes before the first step is repeated
            path.unlink()
            continue
        with atomic(path) as temporary, open(temporary, "wb") as file:
            writer = RecordWriter(file)
            for record in RawEventFileLoader(str(path)).Load():
                if Event.FromString(record).step <= step:
                    writer.write(record)


def _save_png(image: "Tensor", path: Path) -> None:
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).squeeze(2).cpu().numpy()
    with atomic(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
