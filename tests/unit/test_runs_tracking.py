"""metrics.jsonl, TensorBoard and pictures."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from dlrun.files import read_jsonl
from dlrun.runs.folder import RunFolder, claim
from dlrun.runs.tracking import Tracker, cut_back


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = claim(tmp_path, "d", "m", None)
    run.prepare({"seed": 0})
    return run


def events(folder: RunFolder) -> "EventAccumulator":  # noqa: F821
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder.tensorboard), size_guidance={"images": 0})
    accumulator.Reload()
    return accumulator


def test_lines_are_kept_and_cut_back_to_the_checkpoint(folder: RunFolder) -> None:
    tracker = Tracker(folder, 0, {})
    for step in (3, 6, 9):
        tracker.log(step, step / 10, {"train/loss": 1 / step})
    tracker.close()
    with open(folder.metrics, "a") as file:
        file.write('{"step": 12, "time": 1.2, "train')  # killed while writing
    assert [row["step"] for row in read_jsonl(folder.metrics)] == [3, 6, 9]
    tracker = Tracker(folder, 6, {})
    tracker.log(9, 5.0, {"train/loss": 0.5})
    tracker.close()
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [(row["step"], row["train/loss"]) for row in lines] == [(3, 1 / 3), (6, 1 / 6), (9, 0.5)]


def test_cutting_back_to_nothing_and_of_nothing(folder: RunFolder) -> None:
    cut_back(folder.metrics, 5)
    assert not folder.metrics.exists()
    folder.metrics.write_text('{"step": 1, "time": 0}\n')
    cut_back(folder.metrics, 0)
    assert folder.metrics.read_text() == ""


def test_resumed_scalars_replace_those_after_the_checkpoint(folder: RunFolder) -> None:
    first = Tracker(folder, 0, {"seed": 0})
    for step in (3, 6, 9):
        first.log(step, 0.0, {"train/loss": float(step)})
    first.close()
    second = Tracker(folder, 6, {"seed": 0})
    second.log(9, 0.0, {"train/loss": 90.0})
    second.close()
    scalars = [(e.step, e.value) for e in events(folder).Scalars("train/loss")]
    assert scalars == [(3, 3.0), (6, 6.0), (9, 90.0)]


def test_hparams_stand_in_the_run_itself(folder: RunFolder) -> None:
    tracker = Tracker(
        folder, 0, {"optimizer.lr": 0.1, "name": None, "method.predictor": "mlp", "seed": 3}
    )
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
    tracker = Tracker(folder, 0, {})
    path = tracker.picture(7, "samples", image)
    tracker.close()
    assert path == folder.samples / "samples-000007.png"
    with Image.open(path) as picture:
        assert picture.size == (6, 4)
        assert picture.mode == ("L" if channels == 1 else "RGB")
        pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    assert torch.equal(pixels.view(4, 6, channels), (image * 255).round().byte().permute(1, 2, 0))
    assert [e.step for e in events(folder).Images("samples")] == [7]


def test_a_run_that_begins_anew_has_no_line_of_before_its_first_step(folder: RunFolder) -> None:
    for _ in range(2):
        tracker = Tracker(folder, 0, {})
        tracker.log(0, 0.0, {"survey/share": 0.5})
        tracker.close()
    assert [row["step"] for row in read_jsonl(folder.metrics)] == [0]


def test_histograms_are_in_tensorboard(folder: RunFolder) -> None:
    tracker = Tracker(folder, 0, {})
    tracker.histograms(7, {"code/00": torch.linspace(-1, 3, 50)})
    tracker.close()
    (event,) = events(folder).Histograms("code/00")
    assert event.step == 7
    histogram = event.histogram_value
    assert (histogram.min, histogram.max, histogram.num) == (-1, 3, 50)
