"""What a run of two processes stands on: trained by one of them while the other waits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from project import make_project, start

from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check
from dlrun.training.prerequisites import prerequisites

Dlrun = Callable[..., "subprocess.CompletedProcess[str]"]
TWO = ("hardware=ddp", "hardware.devices=2", "hardware.device=cpu", "hardware.precision=fp32")
DISTILL = (
    "method=distill", "dataset=few", "model=resnet8", "model.width=4", "batch_size=16",
    "model@method.teacher_model=resnet8", "method.teacher_model.width=6", "augment=none",
    "optimizer.lr=0.01", "log_every=1", "eval_every=2",
)  # fmt: skip


def runs(outputs: Path, role: str) -> list[Path]:
    """Their folders, by the beginning of the name."""
    return [path.parent for path in outputs.rglob("config.yaml") if path.parent.name[:4] == role]


def state(run: Path) -> str:
    return str(json.loads((run / "status.json").read_text())["state"])


def test_teacher_and_baseline_are_trained_once_and_by_one_process(
    dlrun: Dlrun, tmp_path: Path
) -> None:
    make_project(tmp_path)
    options = [*DISTILL, "steps=4", "method.baseline=true", *TWO]
    done = dlrun("train", *options, timeout=400)
    assert done.returncode == 0, (done.stdout, done.stderr)
    outputs = tmp_path / "outputs"
    (teacher,), (alone,) = runs(outputs, "teac"), runs(outputs, "base")
    for run in (teacher, alone):
        assert len((run / "command.txt").read_text().splitlines()) == 1
        assert "devices: 1\n" in (run / "config.yaml").read_text()
    (student,) = (outputs / "few.Few" / "distill").iterdir()
    rows = json.loads((student / "summary.json").read_text())["networks"]
    assert rows.keys() == {"teacher", "student", "student alone"}
    # torchrun itself, and the teacher that is there already.
    again = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         "-m", "dlrun", "train", *options, "seed=1", "method.baseline=false"],
        cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DLRUN_DATA": str(tmp_path / "cache")},
    )  # fmt: skip
    assert again.returncode == 0, (again.stdout, again.stderr)
    assert again.stdout.count("teacher: ") == 3  # found, loaded, measured: told by one
    assert "training it first" not in again.stdout
    assert len((teacher / "command.txt").read_text().splitlines()) == 1


def test_stopped_while_the_teacher_is_trained_both_stop_and_it_is_saved(tmp_path: Path) -> None:
    make_project(tmp_path)
    options = [*DISTILL, "steps=4", "method.teacher_epochs=100000", *TWO]
    process = start(tmp_path, "train", *options)
    try:
        deadline = time.monotonic() + 120
        while not any(tmp_path.rglob("teacher-*/metrics.jsonl")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=120)[0]
    finally:
        process.kill()
    assert process.returncode == 130, told
    (teacher,) = runs(tmp_path / "outputs", "teac")
    assert state(teacher) == "interrupted"
    assert (teacher / "checkpoints" / "last.pt").exists()
    assert told.count("saved") == 1  # the other says nothing
    assert "lost" not in told and "Traceback" not in told


def test_what_does_not_fit_is_told_once(dlrun: Dlrun, tmp_path: Path) -> None:
    make_project(tmp_path)
    wrong = "method.student_tap=nowhere"
    done = dlrun("train", *DISTILL, "steps=4", "loss=hint", wrong, *TWO, timeout=300)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.count("method.student_tap") == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert not list((tmp_path / "outputs").rglob("config.yaml"))


def config_of(*overrides: str) -> TrainConfig:
    return check(compose_plain([*overrides], None))


def test_they_are_the_same_runs_whoever_needs_them() -> None:
    """One process or several, with batch norm synchronised or not."""
    ddp = ("hardware=ddp", "hardware.devices=2", "hardware.sync_batchnorm=true")
    for own in (
        ("method=distill", "method.baseline=true"), ("method=dbvae", "method.controls=true"),
    ):  # fmt: skip
        one, several = (prerequisites(config_of(*own, *more)) for more in ((), ddp))
        assert len(one) == 2
        assert [p.config for p in one] == [p.config for p in several]
        assert [p.folder.path for p in one] == [p.folder.path for p in several]


def test_controls_are_trained_by_one_process(dlrun: Dlrun, tmp_path: Path) -> None:
    make_project(tmp_path)
    options = (
        "dataset=few", "method=dbvae", "model.width=2", "model.hidden=16", "method.latent=4",
        "dataset.positive=Sneaker", "method.controls=true", "batch_size=16", "steps=2",
    )  # fmt: skip
    done = dlrun("train", *options, *TWO, "name=own", timeout=400)
    assert done.returncode == 0, (done.stdout, done.stderr)
    outputs = tmp_path / "outputs"
    others = runs(outputs, "cont")
    assert len(others) == 2
    for run in others:
        assert len((run / "command.txt").read_text().splitlines()) == 1
        assert "devices: 1\n" in (run / "config.yaml").read_text()
    (own,) = outputs.rglob("*-own")
    summary = json.loads((own / "summary.json").read_text())
    assert summary["compared"].keys() == {"control-none", "control-shuffled"}
