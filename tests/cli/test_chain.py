"""One run learns from another by its id: features, a probe on them, a student of the probe."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from project import make_project

from dlrun.cli import run
from dlrun.errors import UserError
from dlrun.training import checkpoint

Dlrun = Callable[..., subprocess.CompletedProcess[str]]
SMALL = (
    "dataset=few", "model=resnet8", "model.width=4", "batch_size=32", "hardware=cpu",
    "hardware.precision=fp32",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a project with a data set of 160 images."""
    monkeypatch.chdir(make_project(tmp_path))


def trained(dlrun: Dlrun, *arguments: str) -> str:
    """Trains; what was printed."""
    result = dlrun("train", *SMALL, *arguments, timeout=400)
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_of(folder: Path, method: str) -> Path:
    (found,) = (folder / "outputs").glob(f"few*/{method}/*")
    return found


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    content = checkpoint.load(run / "checkpoints" / f"{name}.pt")
    state: dict[str, torch.Tensor] = content["method"]
    return state


def summary(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def test_byol_then_a_probe_then_a_student_by_run_ids(dlrun: Dlrun, tmp_path: Path) -> None:
    trained(dlrun, "method=byol", "method.hidden=16", "steps=2")
    byol = run_of(tmp_path, "byol")

    told = trained(
        dlrun, "method=supervised", f"model.init_from={byol.name[:10]}", "model.freeze=backbone",
        "steps=12", "optimizer.lr=0.5",
    )  # fmt: skip
    probe = run_of(tmp_path, "supervised")
    assert "model.init_from: all" in told
    assert "not loaded: online, predictor, target, probe" in " ".join(told.split())
    begun, after = weights(byol, "best"), weights(probe)
    backbone = [name for name in after if name.startswith("encoder.")]
    assert backbone
    for name in backbone:  # also the statistics of batch norm: nothing of it moved
        assert torch.equal(after[name], begun[name.replace("encoder.", "online.0.")]), name
    assert f"init_from: {byol.relative_to(tmp_path)}" in (probe / "config.yaml").read_text()

    told = trained(
        dlrun, "method=distill", f"method.teacher={probe.name}", "steps=2", "method.baseline=true"
    )
    student = run_of(tmp_path, "distill")
    accuracy = summary(probe)["best"]["val"]
    assert f"teacher: val accuracy {accuracy:.4f}, {accuracy:.4f} when it was trained" in told
    assert "student alone" in told
    rows = summary(student)["networks"]
    assert rows["teacher"]["last"] == pytest.approx(summary(probe)["test"]["best"]["accuracy"])
    assert rows["student alone"]["last"] == pytest.approx(
        summary(next(probe.parent.glob("baseline-*")))["test"]["last"]["accuracy"]
    )
    assert rows["student"]["parameters"] > 0
    assert "agreement" in summary(student)["test"]["last"]


def test_a_teacher_is_trained_once_for_all_runs_of_a_sweep(dlrun: Dlrun, tmp_path: Path) -> None:
    common = ("method=distill", "model@method.teacher_model=resnet8", "steps=2", *SMALL)
    result = dlrun("train", "-m", *common, "loss=kd,hint", timeout=400)
    assert result.returncode == 0, result.stderr
    told = "".join(path.read_text() for path in (tmp_path / "outputs").rglob("output.txt"))
    assert told.count("teacher: not trained yet, training it first") == 1
    assert len(list((tmp_path / "outputs").rglob("teacher-*/summary.json"))) == 1
    assert len(list((tmp_path / "outputs" / "sweeps").rglob("summary.json"))) == 2


def test_a_teacher_that_is_not_what_it_was_is_refused(dlrun: Dlrun, tmp_path: Path) -> None:
    trained(dlrun, "method=supervised", "steps=12")
    run = run_of(tmp_path, "supervised")
    content = checkpoint.load(run / "checkpoints" / "best.pt")
    content["val"]["accuracy"] += 0.05
    del content["format"]
    checkpoint.save(run / "checkpoints" / "best.pt", content)
    result = dlrun("train", *SMALL, "method=distill", "method.teacher=last", "steps=2")
    assert result.returncode == 2
    assert "was recorded when it was trained" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (("method=supervised", "model.init_from=nothing"), "nothing: no run of that name"),
        (("method=distill", "method.teacher=nothing"), "nothing: no run of that name"),
        (("method=multitask", "method.tasks=[label,age]"), "method.tasks: 'age' is not a column"),
        (("method=distill", "loss=cross_entropy"), "needs a loss of kind distillation"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(overrides: tuple[str, ...], line: str) -> None:
    with pytest.raises(UserError, match=line):
        run(["train", *overrides, "steps=2"])


def test_a_plain_state_dict_of_torchvision_is_taken_over(dlrun: Dlrun, tmp_path: Path) -> None:
    from torchvision.models import get_model

    network = get_model("resnet18", weights=None, num_classes=7)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    result = dlrun(
        "train", "method=supervised", "dataset=few", "model=resnet18", "model.stem=imagenet",
        "model.init_from=resnet18.pth", "model.freeze=backbone", "steps=1", "batch_size=4",
        "dataset.val_fraction=0", "hardware=cpu",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "not loaded: network.fc.bias, network.fc.weight" in " ".join(result.stdout.split())
    run = run_of(tmp_path, "supervised")
    assert torch.equal(
        weights(run)["encoder.network.layer1.0.conv1.weight"],
        network.state_dict()["layer1.0.conv1.weight"],
    )
