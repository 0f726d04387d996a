"""metrics.jsonl, TensorBoard and pictures."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from dlrun.errors import RunFailed, UserError
from dlrun.files import read_jsonl
from dlrun.runs.folder import RunFolder, claim
from dlrun.runs.loggers import (
    LoggedRun,
    TensorBoard,
    Tracker,
    cut_back,
    is_logged,
    open_loggers,
    summary_writer,
)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = claim(tmp_path, "d", "m", None)
    run.prepare({"seed": 0})
    return run


def tracked(folder: RunFolder, step: int, **options: Any) -> Tracker:
    """With TensorBoard, as a run has it by default."""
    run = LoggedRun(folder.path, step, options)
    return Tracker(folder, step, [TensorBoard(TensorBoard.Config(), run)])


def events(folder: RunFolder) -> "EventAccumulator":  # noqa: F821
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder.tensorboard), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def test_lines_are_kept_and_cut_back_to_the_checkpoint(folder: RunFolder) -> None:
    tracker = tracked(folder, 0)
    for step in (3, 6, 9):
        tracker.log(step, step / 10, {"train/loss": 1 / step})
    tracker.close()
    with open(folder.metrics, "a") as file:
        file.write('{"step": 12, "time": 1.2, "train')  # killed while writing
    assert [row["step"] for row in read_jsonl(folder.metrics)] == [3, 6, 9]
    tracker = tracked(folder, 6)
    tracker.log(9, 5.0, {"train/loss": 0.5})
    tracker.close()
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(row["step"], row["train/loss"]) for row in lines] == [(3, 1 / 3), (6, 1 / 6), (9, 0.5)]


def test_cutting_back_to_nothing_and_of_nothing(folder: RunFolder) -> None:
    cut_back(folder.metrics, 5)
    assert not folder.metrics.exists()
    folder.metrics.write_text('{"step": 0, "time": 0}\n{"step": 1, "time": 0}\n')
    cut_back(folder.metrics, 0)
    assert [row["step"] for row in read_jsonl(folder.metrics)] == [0]
    tracked(folder, 0).close()  # what comes before the first step is repeated
    assert folder.metrics.read_text() == ""


def test_resumed_scalars_replace_those_after_the_checkpoint(folder: RunFolder) -> None:
    first = tracked(folder, 0, seed=0)
    for step in (3, 6, 9):
        first.log(step, 0.0, {"train/loss": float(step)})
    first.close()
    second = tracked(folder, 6, seed=0)
    second.log(9, 0.0, {"train/loss": 90.0})
    second.close()
    scalars = [(e.step, e.value) for e in events(folder).Scalars("train/loss")]
    assert scalars == [(3, 3.0), (6, 6.0), (9, 90.0)]


def test_hparams_stand_in_the_run_itself(folder: RunFolder) -> None:
    options = {"optimizer.lr": 0.1, "name": None, "method.predictor": "mlp", "seed": 3}
    tracker = tracked(folder, 0, **options)
    tracker.log(1, 0.0, {"train/loss": 1.0})
    tracker.close()
    assert [path for path in folder.tensorboard.iterdir() if path.is_dir()] == []
    from tensorboard.plugins.hparams import plugin_data_pb2

    data = events(folder).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    # One run's summary of an experiment would hide the keys that only other runs have.
    assert "_hparams_/experiment" not in events(folder).summary_metadata
    parsed = plugin_data_pb2.HParamsPluginData.FromString(data).session_start_info.hparams
    assert parsed["optimizer.lr"].number_value == pytest.approx(0.1)
    assert parsed["method.predictor"].string_value == "mlp"
    assert parsed["name"].string_value == "None"


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_png_files_and_in_tensorboard(folder: RunFolder, channels: int) -> None:
    image = torch.rand(channels, 4, 6)
    tracker = tracked(folder, 0)
    path = tracker.picture(7, "samples", image)
    tracker.close()
    assert path == folder.samples / "samples-000007.png"
    with Image.open(path) as picture:
        assert picture.size == (6, 4)
        assert picture.mode == ("L" if channels == 1 else "RGB")
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    assert torch.equal(pixels.view(4, 6, channels), (image * 255).round().byte().permute(1, 2, 0))
    assert [e.step for e in events(folder).Images("samples")] == [7]


def test_histograms_and_texts_are_in_tensorboard(folder: RunFolder) -> None:
    tracker = tracked(folder, 0)
    tracker.histograms(7, {"code/00": torch.linspace(-1, 3, 50)})
    tracker.text(7, "warnings", ["one"])
    tracker.close()
    (event,) = events(folder).Histograms("code/00")
    histogram = event.histogram_value
    assert (event.step, histogram.min, histogram.max, histogram.num) == (7, -1, 3, 50)
    assert [event.step for event in events(folder).Tensors("warnings/text_summary")] == [7]


# --- loggers of one's own ------------------------------------------------------------------------


class Kept:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def scalars(self, step: int, values: Any) -> None:
        self.calls.append(("scalars", step, dict(values)))

    def image(self, step: int, name: str, image: torch.Tensor) -> None:
        self.calls.append(("image", step, name, image.shape))

    def histogram(self, step: int, name: str, values: torch.Tensor) -> None:
        self.calls.append(("histogram", step, name, values.shape))

    def text(self, step: int, name: str, text: str) -> None:
        self.calls.append(("text", step, name, text))

    def close(self) -> None:
        self.calls.append(("close",))


def test_every_logger_is_given_everything_in_order(folder: RunFolder) -> None:
    loggers = [Kept(), Kept()]
    tracker = Tracker(folder, 0, loggers)
    tracker.log(1, 0.5, {"train/loss": 2.0})
    tracker.scalars(1, {"time/images_per_second": 9.0})
    tracker.picture(2, "samples", torch.zeros(1, 4, 6))
    tracker.histograms(2, {"code/00": torch.zeros(5)})
    tracker.text(3, "warnings", [])
    tracker.text(3, "warnings", ["one", "two"])
    tracker.close()
    assert (
        loggers[0].calls
        == loggers[1].calls
        == [
            ("scalars", 1, {"train/loss": 2.0}),
            ("scalars", 1, {"time/images_per_second": 9.0}),
            ("image", 2, "samples", (1, 4, 6)),
            ("histogram", 2, "code/00", (5,)),
            ("text", 3, "warnings", "one\n\ntwo"),
            ("close",),
        ]
    )


def test_without_loggers_the_folder_has_the_lines_and_the_pictures(folder: RunFolder) -> None:
    tracker = Tracker(folder, 0)
    tracker.log(1, 0.5, {"train/loss": 2.0})
    assert tracker.picture(2, "samples", torch.zeros(1, 4, 6)).is_file()
    tracker.close()
    assert [row["train/loss"] for row in read_jsonl(folder.metrics)] == [2.0]
    assert not list(folder.tensorboard.iterdir())


def test_a_logger_that_cannot_be_made_is_an_error_in_one_line(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = "".join(
        f"    def {name}(self, *given): ...\n"
        for name in ("scalars", "image", "histogram", "text", "close")
    )
    (tmp_path / "noisy.py").write_text(
        f"class Noisy:\n{methods}    def __init__(self, config, run):\n"
        "        raise RuntimeError('no such project\\nsecond line')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    choices: Any = {"mine": SimpleNamespace(name="noisy:Noisy", options=None)}
    with pytest.raises(UserError) as caught:
        open_loggers(choices, LoggedRun(folder.path, 0, {}))
    said = str(caught.value)
    assert said.startswith("logger.mine: noisy:Noisy failed at ")
    assert said.endswith(": RuntimeError: no such project")


def test_which_options_are_columns_of_a_table() -> None:
    assert is_logged("optimizer.lr") and is_logged("method.name")
    assert not is_logged("logger.tensorboard.name") and not is_logged("hardware.device")


def test_a_damaged_line_ends_what_is_read_of_the_metrics(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "val/a": 3}\n\xff\xfe\n{"step": 3}\n')
    assert [row["step"] for row in read_jsonl(path)] == [1, 2]
    assert read_jsonl(path, b'"val/') == [{"step": 2, "val/a": 3}]
    assert read_jsonl(tmp_path / "none") == []


def test_a_folder_whose_name_is_no_utf8_has_tensorboard_too(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9") / "tensorboard"
    with summary_writer(folder) as writer:
        writer.add_scalar("train/loss", 0.5, 1)
    (file,) = folder.iterdir()
    assert file.stat().st_size > 100


def test_what_its_thread_meets_is_raised_and_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OSError, match="No space left"), summary_writer(tmp_path) as writer:
        (file,) = tmp_path.iterdir()
        file.unlink()
        file.symlink_to("/dev/full")
        for step in range(100):
            writer.add_scalar("train/loss", 0.5, step)
        writer.flush()
    assert "Traceback" not in capfd.readouterr().err


def test_a_removed_file_of_metrics_is_told_at_the_next_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    tracker = Tracker(folder, 0)
    tracker.log(1, 0.1, {"train/loss": 0.5})
    tracker.sync()
    folder.metrics.unlink()
    with pytest.raises(RunFailed, match=r"metrics\.jsonl was removed"):
        tracker.sync()
    tracker.close()
