"""sample, reconstruct, interpolate, traverse, translate: grids, animations, single files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trained_runs import call, outputs, wild

import dlrun
from dlrun.errors import UserError


@pytest.fixture
def image(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return str(tmp_path / "a.png")


def test_samples_are_the_seed_s(tmp_path: Path) -> None:
    names = ("one.png", "same.png", "other.png")
    for name, seed in zip(names, "337", strict=True):
        out = str(tmp_path / name)
        assert call("sample", "the-vae", "-n", "10", "--seed", seed, "-o", out, "--single") == 0
    one, same, other = ((tmp_path / name).read_bytes() for name in names)
    assert one == same != other
    assert len(list((tmp_path / "one").glob("*.png"))) == 10


def test_the_default_place_is_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sample", "the-vae", "-n", "2") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert Path(line) == outputs() / "fashion_mini/vae/the-vae/made/samples-seed0.png"
    assert Path(line).exists()


def test_reconstructions_stand_below_their_images(tmp_path: Path, image: str) -> None:
    wild(tmp_path / "wild")
    out = str(tmp_path / "r.png")
    assert call("reconstruct", "the-vae", str(tmp_path / "wild"), image, "-o", out) == 1
    picture = np.array(Image.open(out))
    assert picture.shape == (2 * 58 - 2, 6 * 58 - 2)  # twice enlarged, with gaps
    original = np.array(Image.open(image))
    assert (picture[0:56:2, 5 * 58 : 5 * 58 + 56 : 2] == original).all()


def test_an_interpolation_and_a_traversal_move(tmp_path: Path, image: str) -> None:
    out = str(tmp_path / "i.png")
    words = ("interpolate", "the-vae", image, image, "--steps", "4", "-o", out, "--gif")
    assert call(*words) == 0
    assert Image.open(out).size == (4 * 58 - 2, 56)
    out = str(tmp_path / "t.png")
    words = ("traverse", "the-vae", "--dims", "0", "3", "--steps", "3", "-o", out, "--gif")
    assert call(*words, "--prior") == 0
    assert Image.open(out).size == (3 * 58 - 2, 2 * 58 - 2)
    frames = Image.open(tmp_path / "t.gif")
    assert frames.n_frames == 4 and frames.size == (56, 2 * 58 - 2)  # there and back


def test_an_autoencoder_walks_as_far_as_its_codes_go(tmp_path: Path, image: str) -> None:
    out = str(tmp_path / "t.png")
    assert call("traverse", "the-auto", "--image", image, "-o", out) == 0  # of the val split
    assert Image.open(out).size == (11 * 58 - 2, 8 * 58 - 2)
    with pytest.raises(UserError, match=r"--prior: .* has none; leave it out"):
        call("traverse", "the-auto", "--prior", "-o", out)


# --- translate -----------------------------------------------------------------------------------


def test_a_folder_comes_out_as_it_was_laid_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "in" / "out"  # inside of it, and still not read
    wild(source)
    assert call("translate", "the-cyc", str(source), str(out), "--to", "B") == 1
    printed = capsys.readouterr().err
    assert "5 images translated to Ankle boot" in printed and "2 of 7" in printed
    made = sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())
    assert made == ["a.jpg", "cmyk.jpg", "palette.png", "sub/16.png", "sub/alpha.png"]
    for name in made:
        with Image.open(source / name) as before, Image.open(out / name) as after:
            assert after.size == before.size
            assert after.format == before.format

    (out / "sub" / "16.png").unlink()
    kept = (out / "a.jpg").stat().st_mtime_ns
    assert call("translate", "the-cyc", str(source), str(out), "--to", "Ankle boot") == 1
    assert "1 images translated" in (printed := capsys.readouterr().err)
    assert "4 existed already" in printed
    assert (out / "sub" / "16.png").exists() and (out / "a.jpg").stat().st_mtime_ns == kept


def test_what_is_written_is_what_the_model_gives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "in" / "a.png")
    source, out = str(tmp_path / "in"), str(tmp_path / "out")
    assert call("translate", "the-cyc", source, out, "--to", "A") == 0
    model = dlrun.load(outputs() / "fashion_mini/cyclegan/the-cyclegan", device="cpu")
    wanted = model.translate(pixels, "b_to_a")[0].numpy() * 255
    assert np.abs(np.array(Image.open(tmp_path / "out" / "a.png")) - wanted).max() < 1
