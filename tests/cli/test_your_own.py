"""Every example of docs/your-own.md, run as it stands there."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from guide import examples

from dlrun.cli import run
from dlrun.errors import UserError
from dlrun.files import read_jsonl


def test_the_guide_has_an_example_of_everything() -> None:
    found = examples()
    assert {
        "rotation.py", "gan.py", "own_losses.py", "own_models.py", "stripes.py", "confident.py",
        "csv_logger.py", "own_decoders.py",
    } == {name for name in found if name.endswith(".py")}  # fmt: skip
    folders = {name.split("/")[1] for name in found if name.endswith(".yaml")}
    assert folders == {"method", "loss", "model", "dataset", "logger"}


@pytest.fixture
def guide(project: Callable[..., Path], tmp_path: Path) -> Path:
    """The examples in the folder in which the test stands."""
    for name, text in examples().items():
        project(name, text)
    return tmp_path


SMALL = ("hardware=cpu", "hardware.threads=1", "batch_size=16")


def trained(*overrides: str) -> tuple[Path, dict[str, Any]]:
    """The folder of a run, and its summary."""
    assert run(["train", *SMALL, *overrides, "name=mine"]) == 0
    (folder,) = Path("outputs").glob("*/*/*-mine")
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return folder, summary


def test_a_method(guide: Path) -> None:
    small = ("model=resnet8", "model.width=4", "dataset=stripes", "steps=4")
    _, summary = trained("method=rotation", "method.weight=0.5", *small)
    assert summary["method"] == "rotation:Rotation" and summary["key_metric"] == "knn"
    assert {"knn", "linear_probe"} <= set(summary["test"]["last"])


def test_a_gan(guide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, summary = trained("method=gan", "steps=6", "model.code=16", "log_every=1")
    assert summary["method"] == "gan:GAN"
    rows = read_jsonl(folder / "metrics.jsonl")
    assert all({"train/generator", "train/discriminator"} <= set(row) for row in rows)
    assert list((folder / "samples").glob("samples-*.png"))
    assert run(["sample", "mine", "-n", "4", "-o", "made.png"]) == 0
    assert Path("made.png").is_file()
    for option in ("model=mlp_decoder", "loss=hinge_gan", "model=upsampling"):
        assert run(["train", *SMALL, "method=gan", option, "steps=2", "dataset=stripes"]) == 0


def test_a_loss_a_model_and_a_data_set(guide: Path) -> None:
    """Rows and columns are easily told apart, which a broken loss would not do."""
    _, summary = trained(
        "method=supervised", "model=flat", "loss=poly1", "dataset=stripes", "epochs=2"
    )
    assert summary["dataset"] == "stripes:Stripes"
    assert summary["test"]["last"]["accuracy"] > 0.9 > summary["test"]["trivial"]["accuracy"]


def test_its_attribute_is_a_task(guide: Path) -> None:
    _, summary = trained(
        "method=multitask", "method.tasks=[label,angle]", "model=flat", "dataset=stripes", "steps=4"
    )
    assert {"accuracy", "absolute_error_angle"} <= set(summary["test"]["last"])


def test_a_metric_of_which_more_is_better_keeps_the_best_epoch_and_not_the_worst(
    guide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, summary = trained(
        "method=confident", "model=flat", "dataset=stripes", "steps=30", "eval_every=10",
        "optimizer=sgd", "optimizer.lr=0.02",
    )  # fmt: skip
    rows = read_jsonl(folder / "metrics.jsonl")
    values = {r["step"]: r["val/certainty"] for r in rows if "val/certainty" in r}
    assert len(values) == 3 and values[30] > values[10]
    best = max(values, key=values.__getitem__)
    assert summary["best"] == {"step": best, "val": pytest.approx(values[best])}
    assert summary["metrics"]["certainty"]["higher_is_better"] is True


def test_the_best_weights_are_tested_and_not_the_last_ones_twice(guide: Path) -> None:
    path = guide / "confident.py"
    path.write_text(path.read_text().replace('"certainty": true,', '"certainty": -true,'))
    _, summary = trained(
        "method=confident", "model=flat", "dataset=stripes", "steps=30", "eval_every=10",
        "optimizer=sgd", "optimizer.lr=0.02",
    )  # fmt: skip
    test = summary["test"]
    assert summary["best"]["step"] == 10  # it only gets worse
    assert test["untrained"]["loss"] > test["best"]["loss"] > test["last"]["loss"]


def test_a_metric_that_nobody_has_described_may_not_choose(guide: Path) -> None:
    path = guide / "confident.py"
    text = re.sub(r"    metrics = .*\n", "", path.read_text())
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        run(["train", *SMALL, "method=confident", "model=flat", "dataset=stripes", "steps=4"])
    said = str(caught.value)
    assert said.startswith(
        "method confident:Confident: its key_metric 'certainty' is not described"
    )
    assert 'metrics = {"certainty": Metric("certainty", higher_is_better=True)}' in said


def test_a_metric_that_is_described_and_never_measured_is_told(guide: Path) -> None:
    path = guide / "confident.py"
    path.write_text(path.read_text().replace('return {"certainty": true,', "return {"))
    with pytest.raises(UserError, match="'certainty' has no value in the val split"):
        run(["train", *SMALL, "method=confident", "model=flat", "dataset=stripes", "steps=4"])


def test_each_run_is_evaluated_with_its_own_metrics(
    guide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("model=flat", "dataset=stripes", "steps=2")
    assert run(["train", *SMALL, "method=confident", *small, "name=first"]) == 0
    assert run(["train", *SMALL, "method=supervised", *small, "name=second"]) == 0
    capsys.readouterr()
    assert run(["evaluate", "first", "second", "--device", "cpu"]) == 0
    assert "probability of the true class ↑" in capsys.readouterr().out


def test_a_val_split_without_two_images_of_a_class_has_no_best_epoch(
    guide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, summary = trained(
        "method=siamese", "model=flat", "dataset=stripes", "dataset.val_fraction=0.001", "steps=2",
        "eval_every=1",
    )  # fmt: skip
    assert summary["best"] == {"step": 2, "val": None}
    assert "so recall@1 has no value there" in capsys.readouterr().out


def test_what_the_first_step_does_not_reach_is_told(
    guide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = guide / "rotation.py"
    path.write_text(
        path.read_text().replace("self.encoder(turned)", "self.encoder(turned).detach()")
    )
    trained("method=rotation", "model=flat", "dataset=stripes", "steps=2")
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: without a gradient in the first step, so not trained: 2 parameters (" in said


def test_a_plain_tensor_that_a_resumed_run_would_lack_is_told(
    guide: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = guide / "rotation.py"
    path.write_text(
        path.read_text().replace("turned = ", "self.seen = torch.ones(3)\n        turned = ", 1)
    )
    trained("method=rotation", "model=flat", "dataset=stripes", "steps=2")
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: plain tensors, in no checkpoint and so lost on resume: seen;" in said


@pytest.mark.parametrize("loggers", ["[tensorboard,csv]", "csv"])
def test_a_logger(guide: Path, loggers: str) -> None:
    folder, _ = trained(
        "method=supervised", "model=flat", "dataset=stripes", "steps=4", f"logger={loggers}",
        "logger.csv.file=lines.csv", "log_every=2",
    )  # fmt: skip
    with open(folder / "lines.csv", newline="") as file:
        lines = [(int(step), name, float(value)) for step, name, value in csv.reader(file)]
    measured = [
        (row["step"], name, value)
        for row in read_jsonl(folder / "metrics.jsonl")
        for name, value in row.items()
        if name not in ("step", "time")
    ]
    assert measured and set(measured) <= set(lines)
    assert {name for _, name, _ in lines} >= {"summary/best", "time/images_per_second"}
    assert bool(list((folder / "tensorboard").glob("events*"))) == ("tensorboard" in loggers)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["logger"]["csv"] == {"name": "csv_logger:CsvLogger", "file": "lines.csv"}


def test_a_resumed_run_tells_its_logger_where_it_stands(
    guide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = guide / "csv_logger.py"
    path.write_text(
        path.read_text().replace(
            "        self.rows =",
            "        print('starts at', run.step, file=self.file)\n        self.rows =",
        )
    )
    from dlrun.training import loop

    taken: list[int] = []
    take_step: Callable[..., Any] = loop.take_step

    def stopped(made: Any, step: int) -> Any:
        taken.append(step)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return take_step(made, step)

    monkeypatch.setattr(loop, "take_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(
            "method=supervised", "model=flat", "dataset=stripes", "steps=4", "logger=csv",
            "checkpoint_every=2",
        )  # fmt: skip
    (folder,) = Path("outputs").glob("*/*/*-mine")
    assert run(["resume", "mine"]) == 0
    assert taken == [0, 1, 2, 2, 3]
    starts = [line for line in (folder / "scalars.csv").read_text().split() if line.isdigit()]
    assert starts[0] == "0" and "2" in starts
