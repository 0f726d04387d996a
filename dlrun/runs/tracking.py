"""Numbers and pictures of a run: metrics.jsonl, TensorBoard, samples/."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from torch import Tensor

from dlrun.files import atomic, write_text
from dlrun.runs.folder import RunFolder

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_BINS = 30  # as many as TensorBoard draws


class Tracker:
    """Writes what a run measures.

    Args:
        folder: the run's.
        step: where the run begins; whatever the files hold of later steps is cut off, since it will
            be computed again.
        hparams: the flat config, for TensorBoard's HParams page.
    """

    def __init__(self, folder: RunFolder, step: int, hparams: Mapping[str, Any]) -> None:
        self.folder, self.start, self.hparams = folder, step, hparams
        cut_back(folder.metrics, step or -1)  # what is looked at before the first step comes again
        self._file: IO[str] = open(folder.metrics, "a", encoding="utf-8")  # noqa: SIM115
        self._writer: SummaryWriter | None = None

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """One line of metrics.jsonl and the same scalars in TensorBoard.

        Args:
            step: optimizer steps taken.
            seconds: of training so far, over all resumes.
            values: finite or not; JSON spells NaN and Infinity as Python does.
        """
        self._file.write(json.dumps({"step": step, "time": round(seconds, 3), **values}) + "\n")
        self._file.flush()
        self.scalars(step, values)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """TensorBoard alone: for what depends on the clock."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

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

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """TensorBoard alone: how numbers (N,) are spread."""
        for name, numbers in values.items():
            self.writer.add_histogram(name, numbers, step, bins=_BINS)

    def picture(self, step: int, name: str, image: Tensor) -> Path:
        """A grid (C, H, W) in [0, 1] as samples/NAME-STEP.png and in TensorBoard."""
        path = self.folder.samples / f"{name}-{step:06d}.png"
        _save_png(image, path)
        self.writer.add_image(name, image, step)
        return path

    def sync(self) -> None:
        """To the disk, before a checkpoint says that these lines exist."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flushes and closes."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()

    @property
    def writer(self) -> "SummaryWriter":
        """TensorBoard's, made at first use: its import must not delay the first step."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self.start + 1 if self.start else None
            self._writer = SummaryWriter(str(self.folder.tensorboard), purge_step=purge)
            if not self.start:
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
            for key, v in self.hparams.items()
        }
        _, start, end = hparams(flat, {})
        for summary in (start, end):
            writer._get_file_writer().add_summary(summary)


def is_hparam(key: str) -> bool:
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


def cut_back(path: Path, step: int) -> None:
    """Drops the lines of metrics.jsonl after `step`, and a last line that was not finished."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if row["step"] > step:
            break
        kept.append(line)
    write_text(path, "".join(line + "\n" for line in kept))


def _save_png(image: Tensor, path: Path) -> None:
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu()
    height, width, channels = pixels.shape
    mode = "L" if channels == 1 else "RGB"
    picture = Image.frombytes(mode, (width, height), pixels.numpy().tobytes())
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG")
