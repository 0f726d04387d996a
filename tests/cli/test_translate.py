"""`dlrun translate`: names, sizes and folders stay, and a second call does what is left."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained_runs import outputs, wild

import dlrun
from dlrun.cli import run
from dlrun.errors import UserError


def translate(*words: str) -> int:
    return run(["translate", "the-cyc", *words, "--outputs", str(outputs()), "--device", "cpu"])


def test_a_folder_comes_out_as_it_was_laid_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "out"  # inside of it, and still not read
    wild(source)
    assert translate(str(source), str(out), "--to", "B") == 1
    told = capsys.readouterr().err
    assert "5 images translated to Ankle boot" in told and "2 of 7" in told
    made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert made == ["a.jpg", "cmyk.jpg", "palette.png", "sub/16.png", "sub/alpha.png"]
    for name in made:
        with Image.open(source / name) as before, Image.open(out / name) as after:
            assert after.size == before.size
            assert after.format == before.format

    (out / "sub" / "16.png").unlink()
    kept = (out / "a.jpg").stat().st_mtime_ns
    assert translate(str(source), str(out), "--to", "Ankle boot") == 1
    assert "1 images translated" in (told := capsys.readouterr().err)
    assert "4 existed already" in told
    assert (out / "sub" / "16.png").exists() and (out / "a.jpg").stat().st_mtime_ns == kept


def test_what_is_written_is_what_the_model_gives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    assert translate(str(tmp_path / "in"), str(tmp_path / "out"), "--to", "A") == 0
    model = dlrun.load(outputs() / "fashion_mini/cyclegan/the-cyclegan", device="cpu")
    wanted = model.translate(pixels, "b_to_a")[0].numpy() * 255
    assert np.abs(np.array(Image.open(tmp_path / "out" / "a.png")) - wanted).max() < 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["nowhere", "out", "--to", "B"], "nowhere: no such folder"),
        (["{}", "{}", "--to", "B"], "expected a folder other than that of the images"),
        (["{}", "{}/out", "--to", "zebra"], "direction: got 'zebra'.* Sneaker or Ankle boot"),
        (["{}", "{}/out", "--to", "B"], "no image below it"),
    ],
)
def test_mistakes_are_told_in_a_line(words: list[str], why: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=why):
        translate(*[word.format(tmp_path) for word in words])
