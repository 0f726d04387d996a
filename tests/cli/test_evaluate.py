"""`dlrun evaluate`: what was measured, measured again, and on other images."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from using import outputs

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
        (["the-supervised", "seed=1"], "seed=1: a run is what it is"),
        (["the-supervised", "dataset.val_fracton=0.2"], "unknown key. Did you mean dataset.val_fraction"),
        (["the-supervised", "dataset.val_fraction=2"], r"got 2, expected a number in"),
        (["the-supervised", "dataset=cifarr"], "Did you mean dataset=cifar"),
        (["dataset.val_fraction=0.2"], "no run was named"),
    ],
)
def test_mistakes_are_told_in_a_line(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=why):
        evaluate(capsys, *words)
