"""`dlrun evaluate`: what was measured, measured again, and on other images."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from halves import OPTIONS, images
from PIL import Image
from project import only_run
from trained_runs import outputs, save_run

from dlrun.cli import run
from dlrun.errors import UserError
from dlrun.files import read_json, write_json


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


@pytest.mark.parametrize(
    "options",
    [
        ("method=supervised", "model=mlp", "bias=long_tail"),
        ("method=supervised", "model=mlp", "bias=colour"),
        ("method=multitask", "model=mlp", "bias=flip", "method.tasks=[flip,label]"),
        ("method=vae", "model=mlp_autoencoder", "bias=rotation"),
        ("method=supervised", "model=resnet8", "model.width=4"),  # too narrow for channels_last
        ("method=supervised", "model=resnet8", "model.width=16"),
    ],
    ids=" ".join,
)
def test_a_trained_run_gives_its_recorded_numbers_to_the_last_digit(
    options: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With as many threads; sums depend on them."""
    monkeypatch.chdir(tmp_path)
    images(tmp_path)
    given = [option for option in OPTIONS[3:] if not option.startswith("epochs=")]
    assert run(["train", *given, "steps=4", "dataset.val_fraction=0.2", *options]) == 0
    folder = only_run(tmp_path)
    for which, split in (("last", "test"), ("best", "test"), ("best", "val")):
        capsys.readouterr()
        assert run(["evaluate", str(folder), "--json", "--which", which, "--split", split]) == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert row["recorded"]
        assert row["recorded"] == {name: row["numbers"][name] for name in row["recorded"]}


def folder_of(root: Path, classes: tuple[str, ...], count: int = 8) -> str:
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for number in range(count):
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
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("recorded", "+0.000", "400 images"))
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
def test_mistakes(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=why):
        evaluate(capsys, *words)


# --- --quality -----------------------------------------------------------------------------------


def options_of(project: Path) -> tuple[str, ...]:
    """Of its data set."""
    root, cache = project / "images", project / "cache"
    return "dataset=image_folder", f"dataset.root={root}", "dataset.size=16", f"data_dir={cache}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a VAE and a classifier, as if they had been trained on a few images of noise."""
    folder = tmp_path_factory.mktemp("project")
    folder_of(folder / "images", ("Bag", "Coat"), count=60)
    for method in ("vae", "supervised"):
        run_folder = save_run(folder / "outputs", method, *options_of(folder))
        test = {"last": {"negative_elbo": 9.5}, "best": {}, "untrained": {}}
        write_json(run_folder.summary, {"test": test})
    return folder


def quality(
    project: Path, capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was printed of the VAE, and its summary."""
    given = ["evaluate", "the-vae", "--quality", "--json", "--samples", "20", *words]
    capsys.readouterr()
    assert run([*given, "--outputs", str(project / "outputs"), "--device", "cpu"]) == 0
    (summary,) = (project / "outputs").rglob("the-vae/summary.json")
    (printed,) = json.loads(capsys.readouterr().out).values()
    return printed, read_json(summary)


def test_quality_is_written_into_the_run_and_repeats(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed, summary = quality(project, capsys)
    assert printed == summary["quality"]
    name = printed["features"]
    rows = printed["sets"]["samples"]["rows"]
    for kind in ("last", "untrained"):
        value = rows[f"{kind}, prior"][f"kid[{name}]"]["value"]
        assert summary["test"][kind][f"kid[{name}]/prior"] == value
    assert f"kid[{name}]/mixture" in summary["test"]["best"]
    assert summary["test"]["last"]["negative_elbo"] == 9.5  # it is still there
    (network,) = (project / "cache" / "networks").rglob("config.yaml")
    before = network.parent.stat().st_mtime_ns
    assert quality(project, capsys) == (printed, summary)  # by the same network
    assert network.parent.stat().st_mtime_ns == before
    assert not list((project / "outputs").rglob("features-*"))  # it is not a run of the user's
    printed, summary = quality(project, capsys, "--features", "random")
    assert "random" in printed["features"]
    both = (f"fid[{features}]/prior" for features in (name, printed["features"]))
    assert set(both) <= summary["test"]["best"].keys()


def test_quality_of_a_run_whose_data_have_changed_is_refused(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own, or those of the feature network that was trained before."""
    quality(project, capsys)
    (kept,) = (project / "images" / "Bag").glob("0.png")
    before = kept.read_bytes()
    Image.new("RGB", (30, 40)).save(kept)
    try:
        with pytest.raises(UserError, match="the-vae: dataset=image_folder is not the data that"):
            quality(project, capsys)
        save_run(project / "again", "vae", *options_of(project))
        (again,) = (project / "again").rglob("the-vae")
        write_json(again / "summary.json", {"test": {"last": {}}})
        with pytest.raises(UserError, match=r"features: .* other data .* dlrun rm .*features-"):
            run(["evaluate", str(again), "--quality", "--samples", "20", "--device", "cpu"])
    finally:
        kept.write_bytes(before)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["the-sup", "--quality"], "method supervised generates no images"),
        (["the-vae", "--quality", "dataset=mnist"], "compares with the run's own data set"),
        (["the-vae", "--quality", "--samples", "3"], "--samples: got 3, expected an integer >= 10"),
        (["the-vae", "--quality", "--features", "no.pth"], "no.pth: no checkpoint there"),
        (["the-vae", "--quality", "--split", "test"], "--split: has no effect here; leave it out"),
        (["the-vae", "--quality", "--which", "last"], "--which: has no effect here; leave it out"),
        (["the-vae", "--quality", "--tensorboard"], "--tensorboard: has no effect here"),
        (["the-vae", "--features", "random"], "--features: has no effect here; it needs --quality"),
        (["the-vae", "--samples", "20"], "--samples: has no effect here; it needs --quality"),
    ],
)
def test_quality_that_cannot_be_measured(words: list[str], why: str, project: Path) -> None:
    with pytest.raises(UserError, match=why):
        run(["evaluate", *words, "--outputs", str(project / "outputs")])


def test_an_unfinished_run_has_no_quality(project: Path, tmp_path: Path) -> None:
    (found,) = (project / "outputs").rglob("the-vae")
    copy = shutil.copytree(found, tmp_path / "copy")
    write_json(copy / "status.json", read_json(copy / "status.json") | {"state": "interrupted"})
    with pytest.raises(UserError, match="is interrupted; --quality measures complete runs"):
        run(["evaluate", str(copy), "--quality"])
