"""`dlrun evaluate`: what was measured, measured again, and on other images."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trained_runs import outputs

sys.path.insert(0, str(Path(__file__).parents[1] / "resume"))
from project import command, make_project, start

from dlrun.cli import run
from dlrun.errors import UserError


def evaluate(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    assert run(["evaluate", *words, "--json", "--outputs", str(outputs()), "--device", "cpu"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("method", ["supervised", "cyclegan"])
def test_the_same_images_give_what_was_recorded(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = evaluate(capsys, f"the-{method}")
    assert row["recorded"]
    for name, value in row["recorded"].items():
        assert row["numbers"][name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def folder_of(root: Path, classes: tuple[str, ...]) -> str:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return f"dataset.root={root}"


def test_another_data_set_is_brought_to_shape_and_classes_go_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = folder_of(tmp_path / "a", ("Bag", "Coat"))
    options = ("dataset=image_folder", root, f"data_dir={tmp_path / 'cache'}")
    (row,) = evaluate(capsys, "the-supervised", *options, "--split", "test")
    assert (row["dataset"], row["images"], row["recorded"]) == ("image_folder", 4, {})
    assert 0 <= row["numbers"]["accuracy"] <= 1
    strange = folder_of(tmp_path / "b", ("Bag", "cat"))
    with pytest.raises(UserError, match=r"its classes \(Bag, cat .* not among"):
        evaluate(capsys, "the-supervised", "dataset=image_folder", strange, options[2])


def test_a_table_says_how_it_compares(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run_folder = tmp_path / "moved"
    shutil.copytree(outputs() / "fashion_mini/supervised/the-supervised", run_folder)
    assert run(["evaluate", str(run_folder), "--tensorboard", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "recorded" in told and "+0.000" in told and "400 images" in told
    assert list((run_folder / "tensorboard").glob("events*"))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["the-supervised", "seed=1"], "seed=1: only the data set of a trained run"),
        (
            ["the-supervised", "dataset.val_fracton=0.2"],
            "unknown key. Did you mean dataset.val_fraction",
        ),
        (["the-supervised", "dataset.val_fraction=2"], r"got 2, expected a number in"),
        (["the-supervised", "dataset=cifarr"], "Did you mean dataset=cifar"),
        (["dataset.val_fraction=0.2"], "no run was given"),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=why):
        evaluate(capsys, *words)


# --- --quality -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a short run of a VAE and one of a classifier."""
    folder = make_project(tmp_path_factory.mktemp("project"))
    for method in ("vae", "supervised"):
        process = start(folder, *command(method, "steps=4", f"name={method}"))
        assert process.wait(120) == 0, process.communicate()[0]
    return folder


def quality(project: Path, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was printed of the VAE, and its summary."""
    done = subprocess.run(
        [sys.executable, "-m", "dlrun", "evaluate", "vae", "--quality", "--json", *words],
        cwd=project, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "DLRUN_DATA": str(project / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (summary,) = (project / "outputs").rglob("*-vae/summary.json")
    (printed,) = json.loads(done.stdout).values()
    return printed, json.loads(summary.read_text())


def test_quality_is_written_into_the_run_and_repeats(project: Path) -> None:
    printed, summary = quality(project, "--samples", "20")
    assert printed == summary["quality"]
    name = printed["features"]
    rows = printed["sets"]["samples"]["rows"]
    for kind in ("last", "untrained"):
        value = rows[f"{kind}, prior"][f"kid[{name}]"]["value"]
        assert summary["test"][kind][f"kid[{name}]/prior"] == value
    assert f"kid[{name}]/mixture" in summary["test"]["best"]
    assert summary["test"]["last"]["negative_elbo"] > 0  # what stood there still does
    (network,) = (project / "cache" / "networks").rglob("config.yaml")
    before = network.parent.stat().st_mtime_ns
    assert quality(project, "--samples", "20") == (printed, summary)  # by the same network
    assert network.parent.stat().st_mtime_ns == before
    assert not list((project / "outputs").rglob("features-*"))  # it is no run of the user's


def test_other_features_stand_beside_them(project: Path) -> None:
    printed, summary = quality(project, "--samples", "20", "--features", "random")
    assert "random" in printed["features"]
    assert f"fid[{printed['features']}]/prior" in summary["test"]["best"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["supervised", "--quality"], "method supervised generates no images"),
        (["vae", "--quality", "dataset=mnist"], "compares with the run's own data set"),
        (["vae", "--quality", "--samples", "3"], "--samples: got 3, expected an integer >= 10"),
        (["vae", "--quality", "--features", "no.pth"], "no.pth: no checkpoint there"),
    ],
)
def test_quality_that_cannot_be_had(
    words: list[str], why: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.syspath_prepend(str(project))
    with pytest.raises(UserError, match=why):
        run(["evaluate", *words])


def test_an_unfinished_run_has_no_quality(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (found,) = (project / "outputs").rglob("*-vae")
    copy = shutil.copytree(found, tmp_path / "copy")
    status = json.loads((copy / "status.json").read_text()) | {"state": "interrupted"}
    (copy / "status.json").write_text(json.dumps(status))
    with pytest.raises(UserError, match="is interrupted; --quality measures complete runs"):
        run(["evaluate", str(copy), "--quality"])
