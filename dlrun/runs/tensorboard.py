"""The logger that every run has by default: TensorBoard."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dlrun.runs.loggers import LoggedRun

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.tensorboard import SummaryWriter

_BINS = 30  # as many as TensorBoard draws


class TensorBoard:
    """Writes to the folder `tensorboard` of a run, and the config to its HParams page."""

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
        self.writer.add_histogram(name, values, step, bins=_BINS)

    def text(self, step: int, name: str, text: str) -> None:
        """On the Text page."""
        self.writer.add_text(name, text, step)

    def close(self) -> None:
        """Flushes and closes."""
        if self._writer is not None:
            self._writer.close()

    @property
    def writer(self) -> "SummaryWriter":
        """Made at first use: its import must not delay the first step."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self.run.step + 1 if self.run.step else None
            self._writer = SummaryWriter(str(self.run.folder / "tensorboard"), purge_step=purge)
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
