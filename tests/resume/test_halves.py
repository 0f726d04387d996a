"""What may change between two halves of a run: nothing that it computes with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from halves import OPTIONS, TOTAL, images, train_until
from PIL import Image
from project import assert_same, only_run, tensorboard

from dlrun.cli import run
from dlrun.errors import UserError
from dlrun.training import checkpoint


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with 28 images in `d/a` and `d/b`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    images(tmp_path)
    return tmp_path


class Lost(BaseException):
    """As if the process were killed: nothing records it."""


def renamed() -> None:
    Path("d/a").rename("d/z")


def removed() -> None:
    Path("d/a/00.png").unlink()


def repainted() -> None:
    Image.new("RGB", (8, 8)).save("d/a/00.png")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (renamed, "classes: a, b -> b, z"),
        (removed, r"images: 20 train, 2 val, 6 test -> \d+ train"),
        (repainted, "other images or labels"),
    ],
)
def test_changed_data_are_refused(project: Path, change: Callable[[], None], told: str) -> None:
    folder = train_until(5)
    last = (folder / "checkpoints" / "last.pt").read_bytes()
    shutil.copytree("d", "kept")
    change()
    with pytest.raises(UserError, match=f"not the data that this run began with .{told}"):
        run(["resume", "last"])
    with pytest.raises(UserError, match=r"not the data of .* any more"):
        run(["evaluate", "last"])
    assert (folder / "checkpoints" / "last.pt").read_bytes() == last
    shutil.rmtree("d")
    Path("kept").rename("d")
    assert run(["resume", "last"]) == 0


def test_moved_data_are_given_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train_until(5).absolute()
    Path("d").rename("e")
    with pytest.raises(UserError, match=r"dlrun resume RUN dataset\.root=FOLDER"):
        run(["resume", "last"])
    with pytest.raises(UserError, match="epochs=4: a run keeps its config"):
        run(["resume", "last", "epochs=4"])
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert run(["resume", str(folder), "dataset.root=../e"]) == 0
    assert "resumed at step 5 of 15" in capsys.readouterr().out
    assert run(["evaluate", str(folder)]) == 0  # the run's folder says where they are now
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["steps"] == TOTAL


def test_a_relative_path_means_what_it_meant(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train_until(5).absolute()
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert run(["resume", str(folder)]) == 0
    assert run(["evaluate", str(folder)]) == 0
    assert "root: d\n" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize("saves", [False, True])
def test_a_lost_end_is_in_no_file(
    project: Path, saves: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines and events after the checkpoint come again; without one the run starts anew."""
    every = f"checkpoint_every={5 if saves else 100}"
    folder = train_until(7, Lost(), every)
    assert run(["resume", "last"]) == 0
    told = "resumed at step 5 of 15" if saves else "no checkpoint had been saved yet"
    assert told in capsys.readouterr().out
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/loss" in row] == list(range(1, TOTAL + 1))
    events = tensorboard(folder)
    assert [step for tag, step, _ in events if tag == "train/loss"] == list(range(1, TOTAL + 1))
    shutil.move(folder, "killed")
    assert run(["train", *OPTIONS, every]) == 0
    whole = only_run(Path("outputs"))
    assert tensorboard(whole) == events
    for name in ("last.pt", "best.pt"):
        a, b = (checkpoint.load(path / "checkpoints" / name) for path in (whole, Path("killed")))
        assert_same(a, b)


def test_a_run_keeps_the_length_that_it_began_with(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another dlrun would count its steps otherwise."""
    folder = train_until(5)
    path = folder / "provenance.json"
    began = json.loads(path.read_text())
    assert began["length"] == {"total": TOTAL, "epoch": 5}
    monkeypatch.setattr("dlrun.training.assemble._length", lambda config, data: (9, 4))
    assert run(["resume", "last"]) == 0
    assert json.loads((folder / "summary.json").read_text())["steps"] == TOTAL
