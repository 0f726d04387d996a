"""Folders of the user's own images."""

import itertools
import logging
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, features
from torch import Tensor

from dlrun.data.open import open_dataset
from dlrun.data.sources import decoding, image_folder
from dlrun.data.sources.base import Splits
from dlrun.data.sources.decoded import unused
from dlrun.data.sources.image_folder import ImageFolder
from dlrun.data.sources.layout import find_images, images_below
from dlrun.data.table import DataSet
from dlrun.errors import UserError
from dlrun.options import Choice

Colour = tuple[int, int, int]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def options(root: Path, **changed: Any) -> ImageFolder.Config:
    standard = {
        "val_fraction": 0.1, "domains": None, "positive": None,
        "root": str(root), "size": 8, "channels": "auto",
        "bits": "auto", "test_fraction": 0.25, "bad_files": "error", "attributes": None,
        "numbers": (), "categories": (), "label": None,
    }  # fmt: skip
    return ImageFolder.Config(**(standard | changed))


def load(root: Path, **changed: Any) -> Splits:
    return ImageFolder().load(options(root, **changed), root.parent / "cache")


def save(
    path: Path, colour: Any = RED, size: tuple[int, int] = (10, 10), mode: str = "RGB", **more: Any
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **more)
    return path


def one(path: Path, size: int = 8, channels: int = 3) -> Tensor:
    """The decoded file, uint8 (C, size, size)."""
    found = decoding.decode([str(path)], size, channels, bits=16)
    assert found.reasons == [None]
    return found.images[0]


def reason(path: Path) -> str:
    found = decoding.decode([str(path)], 8, 3).reasons[0]
    assert found is not None
    return found


def colour(image: Tensor) -> tuple[int, ...]:
    """Of an image that has just one."""
    assert torch.equal(image, image[:, :1, :1].expand_as(image))
    return tuple(image[:, 0, 0].tolist())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 4 images, each image of a colour of its own."""
    for number, name in itertools.product(range(4), ("cat", "dog")):
        blue = 200 if name == "dog" else 0
        save(tmp_path / "root" / name / f"{number}.bmp", (number * 40, 10, blue))
    return tmp_path / "root"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What was decoded, one list a call."""
    calls: list[list[str]] = []
    original = decoding.decode

    def spy(paths: list[str], *how: Any) -> Any:
        calls.append(list(paths))
        return original(paths, *how)

    monkeypatch.setattr(decoding, "decode", spy)
    return calls


# --- one file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "suffix", ["png", "bmp", "gif", "tif", "tiff", "ppm", "webp", "jpg", "jpeg"]
)
def test_formats(tmp_path: Path, suffix: str) -> None:
    if suffix == "webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 100}, "jpeg": {"quality": 100}}
    path = save(tmp_path / f"image.{suffix}", (200, 100, 50), **lossless.get(suffix, {}))
    got = torch.tensor(colour(one(path)))
    assert (got - torch.tensor([200, 100, 50])).abs().max() <= (3 if "jp" in suffix else 0)


MODES: list[tuple[str, Any, tuple[int, ...]]] = [
    ("L", 77, (77, 77, 77)),
    ("1", 1, (255, 255, 255)),
    ("1", 0, (0, 0, 0)),
    ("RGB", (1, 2, 3), (1, 2, 3)),
    ("I;16", 257 * 99, (99, 99, 99)),
    ("I;16", 65535, (255, 255, 255)),
    ("I;16", 257 * 99 + 129, (100, 100, 100)),
    ("LA", (77, 255), (77, 77, 77)),
    ("LA", (77, 0), (255, 255, 255)),
    ("RGBA", (10, 20, 30, 255), (10, 20, 30)),
    ("RGBA", (10, 20, 30, 0), (255, 255, 255)),
    ("RGBA", (0, 100, 200, 51), (204, 224, 244)),  # a fifth of it, four fifths of white
]


@pytest.mark.parametrize(("mode", "value", "expected"), MODES)
def test_modes(tmp_path: Path, mode: str, value: Any, expected: tuple[int, ...]) -> None:
    path = save(tmp_path / "image.png", value, mode=mode)
    with Image.open(path) as file:
        assert file.mode == mode
    assert colour(one(path)) == expected


def test_palettes_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (10, 10), 1)
    image.putpalette([*RED, *GREEN, *BLUE])
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "clear.png", transparency=1)
    image.save(tmp_path / "other.png", transparency=0)
    image.save(tmp_path / "half.png", transparency=bytes([255, 51, 255]))
    image.save(tmp_path / "clear.gif", transparency=1)
    assert colour(one(tmp_path / "plain.png")) == GREEN
    assert colour(one(tmp_path / "clear.png")) == WHITE
    assert colour(one(tmp_path / "other.png")) == GREEN
    assert colour(one(tmp_path / "half.png")) == (204, 255, 204)
    assert colour(one(tmp_path / "clear.gif")) == WHITE


def test_a_colour_that_stands_for_transparent(tmp_path: Path) -> None:
    save(tmp_path / "rgb.png", (1, 2, 3), transparency=(1, 2, 3))
    save(tmp_path / "grey.png", 40, mode="L", transparency=40)
    assert colour(one(tmp_path / "rgb.png")) == WHITE
    assert colour(one(tmp_path / "grey.png")) == WHITE


def test_cmyk(tmp_path: Path) -> None:
    path = save(tmp_path / "image.tif", (255, 0, 0, 0), mode="CMYK")
    assert colour(one(path)) == (0, 255, 255)
    path = save(tmp_path / "image.jpg", (0, 255, 0, 0), mode="CMYK", quality=100)
    assert (torch.tensor(colour(one(path))) - torch.tensor([255, 0, 255])).abs().max() <= 3


def test_sixteen_bits_are_scaled_and_not_cut(tmp_path: Path) -> None:
    ramp = Image.new("I;16", (256, 256))
    ramp.putdata([row * 257 for row in range(256) for _ in range(256)])
    for name in ("ramp.png", "ramp.tif"):
        ramp.save(tmp_path / name)
        got = one(tmp_path / name, size=256, channels=1)
        assert torch.equal(got[0], torch.arange(256).byte()[:, None].expand(256, 256)), name
    (tmp_path / "ramp.pgm").write_bytes(
        b"P5 2 2 65535\n"
        + b"".join((257 * value).to_bytes(2, "big") for value in (0, 50, 100, 255))
    )
    assert one(tmp_path / "ramp.pgm", size=2, channels=1).flatten().tolist() == [0, 50, 100, 255]


def test_pixels_without_a_stated_range_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "float.tif", 0.5, mode="F")
    assert reason(path) == "floats, which have no stated range"
    path = save(tmp_path / "wide.tif", 70_000, mode="I")
    assert reason(path) == "integers from 70000 to 70000, expected 0 to 65535"


# The four corners of an upright image, clockwise from the top left.
CORNERS = [RED, GREEN, BLUE, WHITE]
EXIF_TURNS: dict[int, Image.Transpose | None] = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", EXIF_TURNS)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = Image.new("RGB", (64, 64))
    for place, value in zip([(0, 0), (32, 0), (32, 32), (0, 32)], CORNERS, strict=True):
        upright.paste(value, (*place, place[0] + 32, place[1] + 32))
    turn = EXIF_TURNS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    stored.save(path, exif=exif, quality=100)
    got = one(path, size=8)
    for (y, x), value in zip([(1, 1), (1, 6), (6, 6), (6, 1)], CORNERS, strict=True):
        assert (got[:, y, x].int() - torch.tensor(value)).abs().max() < 8


UPRIGHT = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x04\0\0\0top\0" + bytes(4)  # as text
DAMAGED_EXIF = [b"Exif\0\0garbage!", b"Exif\0\0II*", b"II*\0\xff\xff\xff\xff", b""]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("exif", [*DAMAGED_EXIF, UPRIGHT])
def test_an_image_with_damaged_exif_is_read_unrotated(
    tmp_path: Path, suffix: str, exif: Any
) -> None:
    path = save(tmp_path / f"photo.{suffix}", (9, 200, 9), exif=exif)
    assert abs(one(path)[1, 0, 0].item() - 200) < 4


def test_a_large_photograph_is_reduced_and_another_large_image_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_MOST_PIXELS", 40_000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    assert colour(one(save(tmp_path / "wide.jpg", WHITE, (390, 390)))) == WHITE
    for name, size in (("wide.png", (390, 390)), ("wider.jpg", (4000, 390)), ("a.gif", (201, 200))):
        path = save(tmp_path / name, size=size)
        assert "pixels" in reason(path) and "save it smaller than 40,000" in reason(path)


def test_sixteen_bits_are_scaled_by_the_range_of_the_set(tmp_path: Path) -> None:
    values = {0: 0, 1000: 62, 2047: 127, 4000: 249}
    for value in values:
        save(tmp_path / "root" / f"{value}.png", value, mode="I;16")
    save(tmp_path / "root" / "photo.png", 77, mode="L")
    splits = load(tmp_path / "root")
    assert splits.bits == 12
    got = sorted(int(image.max()) for table in splits[:2] for image in table.images)
    assert got == sorted([*values.values(), 77])
    assert any("12 bits, 0 to 4095 (dataset.bits)" in note for note in splits.notes)
    path = str(tmp_path / "root" / "2047.png")
    assert decoding.decode_file(path, (1, 8, 8), splits.bits).max() == 127
    assert decoding.decode_file(path, (1, 8, 8), 10).max() == 255  # brighter than white


def test_an_image_of_the_right_size_is_kept_bit_for_bit(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    image = Image.frombytes("RGB", (8, 8), pixels.permute(1, 2, 0).contiguous().numpy().tobytes())
    image.save(tmp_path / "image.png")
    assert torch.equal(one(tmp_path / "image.png"), pixels)


def test_grey_weights(tmp_path: Path) -> None:
    path = save(tmp_path / "image.png", (200, 100, 50))
    assert colour(one(path, channels=1)) == (round(0.299 * 200 + 0.587 * 100 + 0.114 * 50),)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 7), (1000, 30), (4000, 3000)])
def test_any_size_and_shape(tmp_path: Path, size: tuple[int, int]) -> None:
    path = save(tmp_path / "image.png", (9, 8, 7), size=size)
    assert colour(one(path)) == (9, 8, 7)


def test_the_middle_square_is_what_is_kept(tmp_path: Path) -> None:
    image = Image.new("RGB", (90, 30), RED)
    image.paste(GREEN, (30, 0, 60, 30))
    image.paste(BLUE, (60, 0, 90, 30))
    image.save(tmp_path / "wide.png")
    got = one(tmp_path / "wide.png", size=10)
    assert colour(got[:, :, 1:9]) == GREEN
    image.rotate(90, expand=True).save(tmp_path / "tall.png")
    assert colour(one(tmp_path / "tall.png", size=10)[:, 1:9]) == GREEN


def test_large_photographs_look_as_without_the_shortcut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coarse = torch.randint(0, 256, (3, 6, 8), generator=torch.Generator().manual_seed(0)).byte()
    small = Image.frombytes("RGB", (8, 6), coarse.permute(1, 2, 0).contiguous().numpy().tobytes())
    small.resize((800, 600), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg", quality=95)
    quick = one(tmp_path / "photo.jpg", size=32).int()
    from PIL import JpegImagePlugin

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda self, mode, size: None)
    slow = one(tmp_path / "photo.jpg", size=32).int()
    difference = (quick - slow).abs().float()
    assert 0 < difference.mean() < 1 and difference.max() < 16


def test_the_first_picture_of_an_animation(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (10, 10), RED), Image.new("RGB", (10, 10), BLUE)
    for name in ("image.gif", "image.tif"):
        first.save(tmp_path / name, save_all=True, append_images=[second])
        assert colour(one(tmp_path / name)) == RED


def bad_files(folder: Path) -> dict[str, str]:
    """One file of each kind that cannot be read, and what is said of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture at all")
    whole = save(folder / "cut.jpg", size=(300, 300)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    whole = save(folder / "cut.png", 9, (300, 300), "L").read_bytes()
    (folder / "cut.png").write_bytes(whole[:-40])
    (folder / "nowhere.png").symlink_to(folder / "not there.png")
    save(folder / "float.tif", 0.5, mode="F")
    (folder / "header.gif").write_bytes(b"GIF89a")
    return {
        "cut.jpg": "image file is truncated",
        "cut.png": "image file is truncated",
        "empty.png": "empty file",
        "float.tif": "floats, which have no stated range",
        "header.gif": "",
        "nowhere.png": "No such file or directory",
        "text.jpg": "cannot identify image file",
    }


def test_unreadable_files_are_all_named_in_one_error(root: Path) -> None:
    bad = bad_files(root / "cat")
    with pytest.raises(UserError) as caught:
        load(root)
    head, *lines = str(caught.value).splitlines()
    assert head == (
        "7 of 15 files are not readable images (dataset.bad_files=skip leaves them out):"
    )
    assert len(lines) == 7
    for line, (name, why) in zip(lines, bad.items(), strict=True):
        path, _, text = line.strip().partition(": ")
        assert path == str(root / "cat" / name)
        assert text.startswith(why) and text and "'" not in text


def test_hundreds_of_unreadable_files_are_all_named(root: Path) -> None:
    for number in range(300):
        (root / "cat" / f"bad{number}.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        load(root)
    assert all(f"bad{number}.png: " in str(caught.value) for number in range(300))


def test_skipped_files_are_left_out_and_named_at_every_run(
    root: Path, decoded: list[list[str]]
) -> None:
    good = load(root)
    bad = bad_files(root / "cat")
    for _ in range(2):
        splits = load(root, bad_files="skip")
        for split, expected in zip(splits[:2], good[:2], strict=True):
            assert torch.equal(split.images, expected.images)
            assert torch.equal(split.labels, expected.labels)
        said = [note for note in splits.notes if "left out" in note]
        assert len(said) == 1 and "7 of 15 files" in said[0]
        assert all(name in said[0] for name in bad)
    assert len(decoded) == 2
    with pytest.raises(UserError, match="7 of 15"):
        load(root)


def test_nothing_readable_is_an_error_even_with_skip(tmp_path: Path) -> None:
    bad_files(tmp_path / "root")
    with pytest.raises(UserError, match="7 of 7 files are not readable"):
        load(tmp_path / "root", bad_files="skip")


def test_a_name_that_is_not_utf8_can_be_printed(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / "root").mkdir()
    try:
        (tmp_path / "root" / name).write_bytes(b"")
    except OSError:
        pytest.skip("the file system demands UTF-8")
    with pytest.raises(UserError, match=r"caf\\udce9.png: empty file") as caught:
        load(tmp_path / "root")
    str(caught.value).encode()


# --- which files ---------------------------------------------------------------------------------


def found(root: Path) -> tuple[list[tuple[str, int | None]], list[tuple[str, int | None]]]:
    files = find_images(root)
    train, test = (
        [(os.path.relpath(path, root), label) for path, label in part]
        for part in (files.train, files.test)
    )
    return train, test


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


Layout = tuple[tuple[str, ...], list[tuple[str, int | None]], list[tuple[str, int | None]]]
LAYOUTS: dict[str, Layout] = {
    "b/2.png b/10.png a/x.png Zebra/1.png ä/1.png": (
        ("Zebra", "a", "b", "ä"),
        [("Zebra/1.png", 0), ("a/x.png", 1), ("b/10.png", 2), ("b/2.png", 2), ("ä/1.png", 3)], [],
    ),
    "train/a/1.png train/b/2.png test/a/3.png test/b/4.png": (
        ("a", "b"), [("train/a/1.png", 0), ("train/b/2.png", 1)],
        [("test/a/3.png", 0), ("test/b/4.png", 1)],
    ),
    "train/a/1.png train/b/2.png val/a/3.png val/b/4.png": (  # which is no test split
        ("a", "b"), [("train/a/1.png", 0), ("train/b/2.png", 1)], [],
    ),
    "train/a/1.png train/b/2.png": (
        ("a", "b"), [("train/a/1.png", 0), ("train/b/2.png", 1)], [],
    ),
    "train/a/1.png train/b/2.png previews/3.png": (  # which is no split
        ("a", "b"), [("train/a/1.png", 0), ("train/b/2.png", 1)], [],
    ),
    "train/1.png train/2.png": ((), [("train/1.png", None), ("train/2.png", None)], []),
    "train/1.png test/2.png": ((), [("train/1.png", None)], [("test/2.png", None)]),
    "bus/1.png plane/2.png train/3.png": (  # a class called train
        ("bus", "plane", "train"), [("bus/1.png", 0), ("plane/2.png", 1), ("train/3.png", 2)], [],
    ),
    "trainA/1.png trainB/2.png trainB/3.png testA/4.png testB/5.png": (
        ("A", "B"), [("trainA/1.png", 0), ("trainB/2.png", 1), ("trainB/3.png", 1)],
        [("testA/4.png", 0), ("testB/5.png", 1)],
    ),
    "trainA/1.png trainB/2.png": (("A", "B"), [("trainA/1.png", 0), ("trainB/2.png", 1)], []),
    "b.png a.jpg notes.txt c.JPEG": ((), [("a.jpg", None), ("b.png", None), ("c.JPEG", None)], []),
    "a/1.PNG a/2.Jpg a/.hidden.png a/._1.png a/notes.txt a/Thumbs.db a/png a/.DS_Store "
    ".cache/1.png a/.thumbs/1.png a/@eaDir/1.png b/1.png": (
        ("a", "b"), [("a/1.PNG", 0), ("a/2.Jpg", 0), ("b/1.png", 1)], [],
    ),
    "a/deep/er/1.png a/2.png a/also/3.png b/1.png": (
        ("a", "b"),
        [("a/2.png", 0), ("a/also/3.png", 0), ("a/deep/er/1.png", 0), ("b/1.png", 1)], [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("names", LAYOUTS)
def test_which_files_are_in_which_split_of_which_class(tmp_path: Path, names: str) -> None:
    touch(tmp_path, *names.split())
    classes, train, test = LAYOUTS[names]
    assert find_images(tmp_path).class_names == classes
    assert found(tmp_path) == (train, test)


SPELLINGS = {
    "train": ("Train", "training", "TRAINING", "training_set", "train-images", "Train Data"),
    "val": ("valid", "Validation", "dev", "VAL", "validation_set"),
    "test": ("Test", "testing", "TESTING", "eval", "Evaluation", "test_set"),
}


ONE_EACH = [(split, name) for split, names in SPELLINGS.items() for name in names]


@pytest.mark.parametrize(("split", "name"), ONE_EACH)
def test_a_split_may_be_spelt_in_any_usual_way(tmp_path: Path, split: str, name: str) -> None:
    folders = {"train": "train", "val": "val", "test": "test"} | {split: name}
    for number, folder in enumerate(folders.values()):
        touch(tmp_path, f"{folder}/a/{number}.png", f"{folder}/b/{number}.png")
    files = find_images(tmp_path)
    assert files.class_names == ("a", "b")
    for number, part in enumerate((files.train, files.val, files.test)):
        assert [Path(path).name for path, _ in part] == [f"{number}.png"] * 2
    assert files.places == {s: f"{folders[s]}/" for s in ("val", "test")}


def told(root: Path) -> tuple[str, str]:
    """What is said to be left out, and the notes."""
    files = find_images(root)
    return str(files.left_out), "; ".join(files.notes)


TOLD: dict[str, tuple[str, str]] = {
    "train/a/1.png train/b/1.png test/1.png test/2.png": (
        "2 images, test/ (without labels)", "it has no class folders; test is held out of train",
    ),
    "train/a/1.png train/b/1.png test/unknown/1.png": (
        "1 image, test/ (other classes)", "its folders (unknown) are no classes of train",
    ),
    "train/a/1.png train/b/1.png test/notes.txt": (
        "1 file (.txt)", "test/ has no image; test is held out of train (dataset.test_fraction)",
    ),
    "train/a/1.png train/b/1.png test/a/1.png": ("", "test/ has no image of b"),
    "train/a/1.png train/b/1.png test/a/1.png test/c/1.png": (
        "1 image, test/c/ (no class of train)", "test/ has no image of b",
    ),
    "train/1.png train/2.png test/a/1.png": ("", "the classes of test/ are not used"),
    "train/a/1.png train/b/1.png extra/1.png x.png": ("2 images, extra/ (no split)", ""),
    "pets/cat/1.png pets/dog/1.png": (
        "", "the only class is pets, which has the folders cat, dog; if these are the classes",
    ),
    "a/1.png b/2.png heic/3.heic loose.png": (
        "1 image, 1 file (.heic), heic/ (no image)", "left out: 1 image in",
    ),
    "a/1.png b/2.png a/notes.txt a/1.HEIC b/2.heic b/Makefile": (
        "4 files (.heic, .txt, no ending)", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("names", TOLD)
def test_what_is_not_read_is_told(tmp_path: Path, names: str) -> None:
    touch(tmp_path, *names.split())
    left_out, notes = told(tmp_path)
    assert left_out == TOLD[names][0]
    assert TOLD[names][1] in notes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("test/a/1.png val/a/2.png", "has test/, val/ and no train/ to train on"),
        ("train/a/1.png Training/a/2.png test/a/1.png", "are both a train split; rename or"),
    ],
)
def test_splits_that_are_missing_or_there_twice(tmp_path: Path, names: str, message: str) -> None:
    touch(tmp_path, *names.split())
    with pytest.raises(UserError, match=message):
        find_images(tmp_path)


def make_run(outputs: Path, at: str = "image_folder/vae/20260101") -> Path:
    touch(outputs / at, "status.json", "samples/1.png", "made/2.png")
    (outputs / at / "config.yaml").write_text(f"name: null\noutputs: {outputs.name}\n")
    return outputs / at


def test_runs_and_what_was_written_with_them_are_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.png", "dog/2.png")
    outputs = tmp_path / "outputs"
    run = make_run(outputs)
    make_run(outputs, "image_folder/vae/teacher-1")
    touch(outputs, "comparison.png")
    (outputs / "sweeps" / "one").mkdir(parents=True)
    (outputs / "sweeps" / "one" / "job").symlink_to(run)
    shutil.copytree(run, tmp_path / "cat" / "a run that was moved")
    assert found(tmp_path)[0] == [("cat/1.png", 0), ("dog/2.png", 1)]
    assert told(tmp_path)[0] == "cat/a run that was moved/ (runs), outputs/ (runs)"
    assert images_below(tmp_path) == [str(tmp_path / name) for name in ("cat/1.png", "dog/2.png")]
    assert len(images_below(run)) == 2  # asked for


def test_loose_images_beside_runs(tmp_path: Path) -> None:
    touch(tmp_path / "in", "1.png", "train/2.png", "train/3.png")
    make_run(tmp_path / "in" / "outputs")
    assert find_images(tmp_path / "in").class_names == ()
    touch(tmp_path / "flat", "1.png", "2.png")
    make_run(tmp_path / "flat")  # outputs=.
    assert len(find_images(tmp_path / "flat").train) == 2


def test_images_by_content_where_the_name_says_nothing(tmp_path: Path) -> None:
    for number, suffix in enumerate(("png", "jpg", "gif", "tif", "bmp", "webp", "ppm")):
        path = save(tmp_path / f"{number}.{suffix}")
        path.rename(tmp_path / (f"{number}" if number % 2 else f"{number}.{suffix}?width=300"))
    (tmp_path / "README").write_text("no image")
    save(tmp_path / "photo.jpg").rename(tmp_path / "photo.jfif")
    splits = load(tmp_path)
    assert len(splits.train) + len(splits.test) == 8
    assert splits.left_out == "1 file (no ending)"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_pipes_are_left_out_and_never_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    os.mkfifo(tmp_path / "2.png")
    os.mkfifo(tmp_path / "3")
    (tmp_path / "4.png").symlink_to("/dev/zero")
    assert told(tmp_path)[0] == "3 files (pipe or device)"
    assert reason(tmp_path / "2.png") == "a folder, pipe or device, and no regular file"


@pytest.mark.parametrize("lacking", ["trainA", "trainB", "testA", "testB"])
def test_a_domain_without_images(tmp_path: Path, lacking: str) -> None:
    for name in {"trainA", "trainB", "testA", "testB"} - {lacking}:
        touch(tmp_path, f"{name}/1.png")
    (tmp_path / lacking).mkdir()
    with pytest.raises(UserError, match=rf"dataset.root: no image in .*{lacking}$"):
        find_images(tmp_path)
    (tmp_path / lacking).rmdir()
    if lacking.startswith("test"):
        with pytest.raises(UserError, match=rf"no image in .*{lacking}$"):
            find_images(tmp_path)


def test_links_to_files_and_folders_are_followed_once(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    touch(store, "1.png", "more/2.png")
    touch(root, "a/0.png")
    (root / "a" / "file.png").symlink_to(store / "1.png")
    (root / "b").symlink_to(store)
    (root / "a" / "within").symlink_to(store / "more")
    (store / "more" / "loop").symlink_to(store)
    (root / "a" / "up").symlink_to(root / "a")
    assert found(root)[0] == [
        ("a/0.png", 0), ("a/file.png", 0), ("a/within/2.png", 0), ("a/within/loop/1.png", 0),
        ("b/1.png", 1), ("b/more/2.png", 1),
    ]  # fmt: skip


def test_no_images(tmp_path: Path) -> None:
    touch(tmp_path, "a/notes.txt")
    with pytest.raises(
        UserError, match=rf"dataset.root: no image below {tmp_path}; expected .jpg,"
    ):
        find_images(tmp_path)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.root: .*nowhere is not a folder"):
        load(tmp_path / "nowhere")


def test_too_few_images(tmp_path: Path) -> None:
    save(tmp_path / "root" / "1.png")
    with pytest.raises(UserError, match="has 1 readable images to train on and 0 to test on"):
        load(tmp_path / "root")


# --- the table -----------------------------------------------------------------------------------


def test_images_labels_and_names_belong_together(root: Path) -> None:
    splits = load(root)
    assert splits.class_names == ("cat", "dog")
    assert (len(splits.train), len(splits.test)) == (6, 2)
    colours = set()
    for table in (splits.train, splits.test):
        assert table.labels is not None
        for image, label in zip(table.images, table.labels.tolist(), strict=True):
            assert colour(image)[2] == (0, 200)[label]
            colours.add(colour(image))
    assert len(colours) == 8
    assert splits.test.labels is not None and splits.test.labels.tolist() == [0, 1]


def test_a_given_test_split_is_used_as_it_is(tmp_path: Path) -> None:
    for split, shade in (("train", 10), ("test", 20)):
        for name in "ab":
            for number in range(3):
                save(tmp_path / "root" / split / name / f"{number}.png", (shade + number, 0, 0))
    splits = load(tmp_path / "root", channels=3)
    assert [colour(image)[0] for image in splits.train.images] == [10, 11, 12] * 2
    assert [colour(image)[0] for image in splits.test.images] == [20, 21, 22] * 2
    assert splits.test.labels is not None and splits.test.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_plain_folder_has_no_labels(tmp_path: Path) -> None:
    for number in range(8):
        save(tmp_path / "root" / f"{number}.png", (number, 0, 0))
    splits = load(tmp_path / "root")
    assert splits.train.labels is None and splits.test.labels is None
    assert splits.class_names == ()
    assert (len(splits.train), len(splits.test)) == (6, 2)


@pytest.mark.parametrize(
    ("modes", "channels", "expected"),
    [
        (("L", "L"), "auto", 1),
        (("1", "LA"), "auto", 1),
        (("L", "RGB"), "auto", 3),
        (("RGB", "RGB"), "auto", 3),
        (("L", "L"), 3, 3),
        (("RGB", "RGB"), 1, 1),
    ],
)
def test_channels(tmp_path: Path, modes: tuple[str, str], channels: Any, expected: int) -> None:
    values = {"L": 90, "1": 1, "LA": (90, 255), "RGB": (90, 90, 10)}
    for number, mode in enumerate(modes * 2):
        save(tmp_path / "root" / f"{number}.png", values[mode], mode=mode)
    shape = load(tmp_path / "root", channels=channels).train.images.shape
    assert shape[1:] == (expected, 8, 8)


def test_colour_files_that_are_all_grey_count_as_grey(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "root" / f"{number}.png", (number, number, number))
    splits = load(tmp_path / "root")
    values = [image.unique().tolist() for image in (*splits.train.images, *splits.test.images)]
    assert splits.train.images.shape[1] == 1 and sorted(values) == [[0], [1], [2], [3]]


def test_a_class_whose_files_cannot_be_read_is_none(root: Path) -> None:
    bad_files(root / "broken")
    (root / "cat").rename(root / "a cat")
    splits = load(root, bad_files="skip")
    assert splits.class_names == ("a cat", "dog")
    assert splits.train.labels is not None and splits.train.labels.unique().tolist() == [0, 1]
    assert "no readable image of broken to train on, which is no class" in splits.notes


def test_a_val_folder_is_the_val_split(tmp_path: Path) -> None:
    for split, shade in (("train", 10), ("val", 20)):
        for name, number in itertools.product("ab", range(5)):
            colour = (shade, number, ord(name))
            save(tmp_path / "root" / split / name / f"{number}.png", colour)

    def data(**changed: Any) -> DataSet:
        choice = Choice("image_folder", options(tmp_path / "root", test_fraction=0.4, **changed))
        return open_dataset(choice, str(tmp_path / "cache"))

    with_val = data()
    assert [len(t) for t in (with_val.train, with_val.val, with_val.test)] == [6, 10, 4]
    assert set(with_val.val.images[:, 0, 0, 0].tolist()) == {20}
    assert set(with_val.test.images[:, 0, 0, 0].tolist()) == {10}
    assert with_val.report == ("classes: a (5), b (5); val: val/ (10); test: held out (4)",)
    without = data(val_fraction=0.0)
    assert [len(t) for t in (without.train, without.val, without.test)] == [6, 0, 4]
    line = "classes: a (5), b (5); val: 0; test: held out (4); left out: 10 images"
    assert without.report == (line, "val/ is not read, as dataset.val_fraction is 0")


def test_the_line_names_few_of_many_classes(tmp_path: Path) -> None:
    for split, name, number in itertools.product(("train", "test"), range(13), range(2)):
        shade = (name, number, len(split))
        save(tmp_path / "root" / split / f"{name:02}" / f"{number}.png", shade)
    data = open_dataset(Choice("image_folder", options(tmp_path / "root")), str(tmp_path / "c"))
    assert data.report == (
        f"classes: {', '.join(f'{name:02} (2)' for name in range(10))} and 3 more; "
        "val: held out (13); test: test/ (26)",
    )


def test_images_of_the_same_content_are_told(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for split, name, number in itertools.product(("train", "test"), "ab", range(3)):
        save(root / split / name / f"{number}.png", (len(split), ord(name), number))
    assert load(root).notes == ()
    shutil.copy(root / "train" / "a" / "0.png", root / "train" / "b" / "twin.png")
    (root / "test" / "a" / "link.png").symlink_to(root / "train" / "a" / "1.png")
    splits = load(root)
    assert splits.notes == (
        "2 images are byte for byte another one, such as train/a/0.png and train/b/twin.png",
        "1 image is in val or test and in another split, so its figures are too good: such as "
        "train/a/1.png and test/a/link.png",
        "1 image is in more than one class, such as train/a/0.png and train/b/twin.png",
    )
    assert len(splits.train) == 7 and len(splits.test) == 7


def test_more_images_than_memory_are_told_before_they_are_decoded(
    root: Path, decoded: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "free_memory", lambda: 8e6)
    with pytest.raises(UserError, match=r"dataset.size: 8 images of 3 x 512 x 512 need 12.6 MB of"):
        load(root, size=512)
    assert decoded == []


# --- decoded once --------------------------------------------------------------------------------


def test_the_second_run_decodes_nothing(root: Path, decoded: list[list[str]]) -> None:
    first, second = load(root), load(root)
    assert len(decoded) == 1 and len(decoded[0]) == 8
    for a, b in zip(first[:2], second[:2], strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
    assert first.class_names == second.class_names and first.checksum == second.checksum
    load(root, test_fraction=0.5)
    load(root, val_fraction=0.3)
    assert len(decoded) == 1  # how it is split has nothing to do with decoding


@pytest.mark.parametrize("change", [{"size": 9}, {"channels": 1}])
def test_other_options_decode_anew(
    root: Path, decoded: list[list[str]], change: dict[str, Any]
) -> None:
    load(root)
    assert load(root, **change).train.images.shape[2] == change.get("size", 8)
    assert len(decoded) == 2
    load(root)
    load(root, **change)
    assert len(decoded) == 2  # both are kept


def same_size_and_time(root: Path) -> None:
    path = root / "cat" / "0.bmp"
    before = path.stat()
    content = path.read_bytes()
    path.unlink()
    save(path, (7, 7, 7))
    assert len(path.read_bytes()) == len(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda root: save(root / "cat" / "0.bmp", (1, 2, 3), (40, 30)),
    "content of the same size and time": same_size_and_time,
    "one more": lambda root: save(root / "cat" / "9.bmp", (1, 2, 3)),
    "one fewer": lambda root: (root / "cat" / "0.bmp").unlink(),
    "another name": lambda root: (root / "cat" / "0.bmp").rename(root / "cat" / "7.bmp"),
    "another class": lambda root: (root / "cat" / "0.bmp").rename(root / "dog" / "7.bmp"),
    "the order of the classes": lambda root: (root / "cat").rename(root / "kitten"),
}
UNCHANGED: dict[str, Callable[[Path], object]] = {
    "time": lambda root: os.utime(root / "cat" / "0.bmp", ns=(1, 1)),
    "mode": lambda root: (root / "cat" / "0.bmp").chmod(0o600),
    "a copy in its place": lambda root: (
        shutil.copy(root / "cat" / "0.bmp", root / "x"),
        (root / "x").replace(root / "cat" / "0.bmp"),
    ),
    "a class's name": lambda root: (root / "cat").rename(root / "chat"),
    "a file that is no image": lambda root: (root / "cat" / "notes.txt").touch(),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_decodes_anew(root: Path, decoded: list[list[str]], change: str) -> None:
    load(root)
    CHANGES[change](root)
    load(root)
    assert len(decoded) == 2


@pytest.mark.parametrize("change", UNCHANGED)
def test_the_same_content_is_not_decoded_again(
    root: Path, decoded: list[list[str]], change: str
) -> None:
    first = load(root)
    UNCHANGED[change](root)
    second = load(root)
    assert len(decoded) == 1 and first.checksum == second.checksum
    assert torch.equal(first.train.images, second.train.images)


def test_another_folder_shares_what_is_the_same_and_nothing_else(
    root: Path, decoded: list[list[str]]
) -> None:
    other = root.parent / "other"
    load(root)
    shutil.copytree(root, other)
    load(other)
    assert len(decoded) == 1
    same_size_and_time(other)
    assert load(other).checksum != load(root).checksum
    assert len(decoded) == 2


def test_what_was_found_and_what_is_asked_for_share_an_entry(
    tmp_path: Path, decoded: list[list[str]]
) -> None:
    for number in range(4):
        save(tmp_path / "root" / f"{number}.png", 100 * number, mode="I;16")
    first = load(tmp_path / "root")
    assert first.bits == 9 and first.train.images.shape[1] == 1
    load(tmp_path / "root", channels=1, bits=9)  # as `evaluate` asks
    assert len(decoded) == 1
    assert load(tmp_path / "root", bits=16).train.images.max() < 2
    assert len(decoded) == 2


def test_an_entry_of_what_a_folder_held_before_is_replaced(root: Path) -> None:
    cache = root.parent / "cache" / "image_folder"
    load(root)
    load(root, size=9)
    assert len([*cache.glob("*.pt")]) == 2
    save(root / "cat" / "new.bmp", (1, 2, 3))
    load(root)
    assert len([*cache.glob("*.pt")]) == 1


def test_a_cache_that_is_read_only_serves_what_it_has(
    root: Path, decoded: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(root)
    (root / "cat" / "0.bmp").chmod(0o600)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("utime", "replace", "mkdir"):
        monkeypatch.setattr(os, name, refuse)
    load(root)
    assert len(decoded) == 1


def test_entries_that_no_folder_needs_can_be_freed(root: Path) -> None:
    cache = root.parent / "cache" / "image_folder"
    load(root)
    assert unused(cache, days=30) == []
    (entry,) = cache.glob("*.pt")
    assert [path for path, _ in unused(cache, days=0)] == [entry]
    root.rename(root.parent / "moved")
    assert sorted(path for path, _ in unused(cache, days=30)) == sorted(cache.iterdir())
    load(root.parent / "moved")
    assert [path.suffix for path, _ in unused(cache, days=30)] == [".json"]


def test_a_folder_is_the_same_however_it_is_named(
    root: Path, decoded: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(root)
    monkeypatch.chdir(root.parent)
    ImageFolder().load(options(Path("root")), root.parent / "cache")
    assert len(decoded) == 1


def test_a_damaged_cache_is_made_again(
    root: Path, decoded: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    first = load(root)
    (cache,) = (root.parent / "cache" / "image_folder").glob("*.pt")
    whole = cache.read_bytes()
    caplog.set_level(logging.INFO, "dlrun")
    for content in (whole[: len(whole) // 2], b""):
        cache.write_bytes(content)
        assert torch.equal(load(root).train.images, first.train.images)
        assert "is damaged" in caplog.text
    assert len(decoded) == 3
    load(root)
    assert len(decoded) == 3


def test_a_cache_that_cannot_be_written_is_no_error(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (root.parent / "file").write_text("")
    caplog.set_level(logging.INFO, "dlrun")
    splits = ImageFolder().load(options(root), root.parent / "file")
    assert len(splits.train) == 6
    assert "could not be kept" in caplog.text


def test_nothing_is_left_beside_the_cache(root: Path) -> None:
    before = sorted(root.rglob("*"))
    load(root)
    assert sorted(root.rglob("*")) == before
    kept = (root.parent / "cache" / "image_folder").iterdir()
    assert sorted(path.suffix for path in kept) == [".json", ".pt"]


def test_checksum_is_that_of_pixels_and_labels(root: Path) -> None:
    checksum = load(root).checksum
    os.utime(root / "cat" / "0.bmp", ns=(1, 1))
    assert load(root).checksum == checksum
    same_size_and_time(root)
    assert load(root).checksum != checksum


def test_a_long_decode_tells_how_far_it_is(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_LOG_EVERY", 0.0)
    monkeypatch.setattr(decoding, "_AHEAD", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    caplog.set_level(logging.INFO, "dlrun")
    splits = load(root)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "decoding 8 images to 8 x 8, once"
    assert lines[1:] == [f"decoded {count} of 8 images" for count in (3, 6, 8)]
    assert len(splits.train) + len(splits.test) == 8


def test_many_files_stay_in_order(tmp_path: Path) -> None:
    paths = [str(save(tmp_path / f"{n}.png", (n, 0, 0), (8, 8))) for n in range(150)]
    images, reasons, _ = decoding.decode(paths, 8, 3)
    assert images[:, 0, 0, 0].tolist() == list(range(150)) and set(reasons) == {None}


# --- real photographs ----------------------------------------------------------------------------


def test_horses_and_deer(shared_data: Path, tmp_path: Path, decoded: list[list[str]]) -> None:
    with tarfile.open(shared_data / "cifar-horse2deer.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    config = options(tmp_path / "cifar-horse2deer", size=32)
    for _ in range(2):
        data = open_dataset(Choice("image_folder", config), str(tmp_path / "cache"))
    assert len(decoded) == 1
    assert (len(data.train), len(data.val), len(data.test)) == (1800, 200, 400)
    assert data.image_shape == (3, 32, 32)
    assert data.class_names == ("A", "B") and data.domains == (0, 1)
    for table, count in ((data.train, 900), (data.val, 100), (data.test, 200)):
        assert table.labels is not None and table.labels.bincount().tolist() == [count, count]
    horse = sorted((tmp_path / "cifar-horse2deer" / "testA").iterdir())[0]
    with Image.open(horse) as file:
        pixels = torch.frombuffer(bytearray(file.convert("RGB").tobytes()), dtype=torch.uint8)
    assert torch.equal(data.test.images[0], pixels.view(32, 32, 3).permute(2, 0, 1))
