"""Images of every kind that users have, brought to what a method was trained on."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dlrun.errors import UserError
from dlrun.use.images import to_bytes
from dlrun.use.pictures import with_ending
from dlrun.use.stream import find_files

RGB = (3, 8, 8)
GREY = (1, 8, 8)


def halves(mode: str = "RGB", size: int = 8) -> Image.Image:
    """Red above, blue below."""
    image = Image.new("RGB", (size, size), (255, 0, 0))
    image.paste((0, 0, 255), (0, size // 2, size, size))
    return image.convert(mode)


def test_a_picture_of_the_right_size_is_itself() -> None:
    pixels = torch.from_numpy(np.array(halves())).permute(2, 0, 1)
    for given in (halves(), np.array(halves()), pixels, pixels.float() / 255):
        assert torch.equal(to_bytes(given, RGB), pixels)


@pytest.mark.parametrize("mode", ["CMYK", "P", "RGBA"])
def test_modes_keep_their_colours(mode: str, tmp_path: Path) -> None:
    suffix = {"CMYK": "tif"}.get(mode, "png")
    halves(mode).save(tmp_path / f"a.{suffix}")
    found = to_bytes(tmp_path / f"a.{suffix}", RGB).int()
    wanted = to_bytes(halves(), RGB).int()
    assert (found - wanted).abs().max() <= 2


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_and_not_cut_off(suffix: str, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / f"a.{suffix}")
    found = to_bytes(tmp_path / f"a.{suffix}", GREY)[0].numpy()
    assert np.abs(found - ramp / 257).max() <= 1


def test_transparency_lies_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert to_bytes(tmp_path / "a.png", RGB).min() == 255


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    halves(size=64).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = to_bytes(tmp_path / "a.jpg", RGB)
    assert found[2, 0].min() > 200 and found[0, -1].min() > 200  # blue above now


def test_of_an_animation_the_first_picture(tmp_path: Path) -> None:
    first, second = halves(), Image.new("RGB", (8, 8), "white")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert torch.equal(to_bytes(tmp_path / "a.gif", RGB), to_bytes(first, RGB))


def test_a_wide_one_is_cropped_around_its_middle() -> None:
    wide = np.zeros((8, 24, 3), dtype=np.uint8)
    wide[:, 8:16] = 200
    assert (to_bytes(wide, RGB)[:, :, 1:-1] > 190).all()


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.png", b"", "empty file"),
        ("text.jpg", b"not an image at all", "cannot identify"),
        ("cut.jpg", None, "truncated"),
    ],
)
def test_files_that_are_not_images_say_why(
    name: str, content: bytes | None, why: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is None:
        halves(size=256).save(path)
        content = path.read_bytes()[:1500]
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: .*{why}") as refused:
        to_bytes(path, RGB)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (3, "got int, expected an image"),
        (np.zeros((2, 8, 8, 3), dtype=np.uint8), "expected uint8"),
        (np.zeros((8, 8)), "got an array of float64"),
        (torch.zeros(1, 2, 3, 8, 8), r"or a batch \(N, C, H, W\)"),
        (torch.full((3, 8, 8), 255.0), r"floats from 255 to 255, expected them in \[0, 1\]"),
        (torch.full((3, 8, 8), float("nan")), "floats from nan"),
    ],
)
def test_what_is_not_an_image(given: Any, why: str) -> None:
    with pytest.raises(UserError, match=why):
        to_bytes(given, RGB)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a.jpg", "a.jpg"), ("a.jfif", "a.jfif"), ("a", "a.png"), ("a.jpg?w=3", "a.jpg?w=3.png")],
)
def test_a_translation_has_a_name_that_it_can_be_saved_under(name: str, wanted: str) -> None:
    assert with_ending(Path("deer") / name) == Path("deer") / wanted


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_refused_and_what_a_folder_leaves_out_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    halves().save(tmp_path / "a.png")
    (tmp_path / "notes.txt").touch()
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"b\.png: a pipe or device, expected an image file"):
        find_files([str(tmp_path / "b.png")])
    caplog.set_level("WARNING", "dlrun")
    assert find_files([str(tmp_path)]) == [str(tmp_path / "a.png")]
    assert "left out: 2 files (pipe or device, .txt)" in caplog.text.replace(
        "(.txt, pipe or device)", "(pipe or device, .txt)"
    )


def test_sixteen_bits_are_read_with_the_range_of_the_training(tmp_path: Path) -> None:
    image = Image.fromarray(np.full((8, 8), 2047, np.uint16))
    image.save(tmp_path / "a.png")
    for given in (tmp_path / "a.png", image):
        assert to_bytes(given, GREY, bits=12).unique().tolist() == [127]
        assert to_bytes(given, GREY).unique().tolist() == [8]
