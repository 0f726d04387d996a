"""Further columns of an image folder: what a cell means, and whose it is."""

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from dlrun.data.open import open_dataset
from dlrun.data.sources import decoding
from dlrun.data.sources.attributes import read_attributes
from dlrun.data.sources.image_folder import ImageFolder
from dlrun.data.table import DataSet, Table
from dlrun.errors import UserError
from dlrun.options import Choice

NAMES = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")


def read(folder: Path, text: str | bytes) -> dict[str, Tensor]:
    """The columns of a CSV file for the four images below `folder`."""
    path = folder / "attributes.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_attributes(path, folder, [f"{folder}/{name}" for name in NAMES])[0]


def column(folder: Path, *cells: str) -> Tensor:
    """The column with these cells, one for each image."""
    lines = [f"{name},{cell}" for name, cell in zip(NAMES, cells, strict=True)]
    return read(folder, "\n".join(["file,x", *lines]))["x"]


def assert_is(found: Tensor, *values: float | None) -> None:
    """Classes where all values are whole, numbers where one is not; None is missing."""
    if found.is_floating_point():
        expected = torch.tensor([float("nan") if v is None else v for v in values])
    else:
        expected = torch.tensor([-1 if v is None else v for v in values])
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_words_come_back_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "attributes.csv"
    path.write_text(
        "file,pet,age\ncat/1.png,yes,3\ncat/2.png,,4\ndog/1.png,no,5\ndog/2.png,yes,6\n"
    )
    columns, words = read_attributes(path, tmp_path, [f"{tmp_path}/{name}" for name in NAMES])
    assert words == {"pet": ("no", "yes")}
    assert columns["pet"].tolist() == [1, -1, 0, 1]


# --- what a cell means ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        # Whole numbers are classes,
        (("0", "3", "1", "3"), (0, 3, 1, 3)),
        (("0", "", " ", "3"), (0, None, None, 3)),
        ((" 2 ", "007", "1", "0"), (2, 7, 1, 0)),
        (("", "", "", ""), (None, None, None, None)),
        # other numbers are numbers,
        (("0.5", "3", "1e2", "-4"), (0.5, 3.0, 100.0, -4.0)),
        (("1.0", "2.0", "3.0", "4.0"), (1.0, 2.0, 3.0, 4.0)),
        (("-1", "2", "3", "4"), (-1.0, 2.0, 3.0, 4.0)),
        (("0.5", "", "1", " "), (0.5, None, 1.0, None)),
        # and texts are classes in the order of the alphabet.
        (("red", "blue", "red", "green"), (2, 0, 2, 1)),
        (("red", "", "blue", ""), (1, None, 0, None)),
        (("1", "2.5", "many", "1"), (0, 1, 2, 0)),
        (('"a, b"', '"say ""yes"""', '"a, b"', "ü"), (0, 1, 0, 2)),
    ],
)
def test_what_a_cell_means(
    tmp_path: Path, cells: tuple[str, ...], values: tuple[float | None, ...]
) -> None:
    found = column(tmp_path, *cells)
    assert found.is_floating_point() == any(isinstance(value, float) for value in values)
    assert_is(found, *values)


def test_lines_may_stand_in_any_order_and_other_files_are_passed_over(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "age,file,name\n4,dog/2.png,d\n9,horse/1.png,z\n\n1,cat/1.png,a\n3,dog/1.png,c\n",
    )
    assert list(found) == ["age", "name"]
    assert_is(found["age"], 1, None, 3, 4)
    assert_is(found["name"], 0, None, 1, 2)  # z is no class: no image has it


def test_a_line_may_be_too_short_for_the_last_columns(tmp_path: Path) -> None:
    found = read(tmp_path, "file,age,name\ncat/1.png\ncat/2.png,5\n")
    assert_is(found["age"], None, 5, None, None)
    assert_is(found["name"], None, None, None, None)


def test_a_line_may_be_too_short_for_its_file(tmp_path: Path) -> None:
    assert_is(read(tmp_path, "age,file\n5\n7,cat/1.png\n")["age"], 7, None, None, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_files_of_spreadsheets_are_read(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(['"file","place"', '"cat/1.png","Málaga, Spain"', '"dog/2.png",Bonn', ""])
    assert_is(read(tmp_path, text.encode(encoding))["place"], 1, None, None, 0)


@pytest.mark.parametrize("cell", ["99999999999999999999", "1e999", "inf"])
def test_numbers_that_no_tensor_or_loss_can_take_are_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(UserError, match=r"dataset\.attributes: .*x"):
        column(tmp_path, "1", "2", cell, "4")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,age\ncat/1.png,3\n", "has the columns name, age; expected file and at least one"),
        ("file\ncat/1.png\n", "has the columns file; expected file and at least one other"),
        ("", r"has the columns \(none\)"),
        ("file,a.b\ncat/1.png,3\n", "without a dot in its name"),
        ("file;age\ncat/1.png;3\n", "has the columns file;age"),
        ("file,age\n1.png,3\n", "knows none of the images; expected paths below .* cat/1.png"),
        ("file,age\n", "knows none of the images"),
        ("file,place\ncat/1.png,Málaga\n".encode("latin-1"), "cannot be read"),
        ("file,label\ncat/1.png,3\n", "label"),  # the folders say what an image's label is
    ],
)
def test_a_file_that_says_nothing_of_the_images_is_refused(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    with pytest.raises(UserError, match=rf"dataset\.attributes: .*attributes\.csv .*{said}"):
        read(tmp_path, text)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.csv", tmp_path):
        with pytest.raises(UserError, match=r"dataset\.attributes: .* cannot be read"):
            read_attributes(path, tmp_path, ["a.png"])


# --- whose it is ---------------------------------------------------------------------------------


def make_folder(root: Path, splits: tuple[str, ...] = ("",)) -> None:
    """Images of one grey each, and a file in a random order that says which."""
    lines = []
    greys = itertools.count(10, 7)
    for split, name, number in itertools.product(splits, ("cat", "dog"), range(6)):
        path, grey = root / split / name / f"{number}.png", next(greys)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (6, 6), grey).save(path)
        if number != 4:
            lines.append(f"{path.relative_to(root)},{grey},{grey / 10 + 0.05},{name}")
    random.Random(0).shuffle(lines)
    (root / "attributes.csv").write_text("\n".join(["file,grey,tenth,animal", *lines]))


def opened(root: Path | str, data_dir: Path | None = None, **changed: Any) -> DataSet:
    standard = {
        "val_fraction": 0.3, "domains": None, "positive": None,
        "root": str(root), "size": 6, "channels": "auto",
        "test_fraction": 0.25, "bad_files": "error", "attributes": "attributes.csv",
    }  # fmt: skip
    config = ImageFolder.Config(**(standard | changed))
    cache = str(data_dir or Path(root).absolute().parent / "cache")
    return open_dataset(Choice("image_folder", config), cache)


def assert_rows_belong(table: Table) -> int:
    """To the pixels and the labels; how many are known."""
    shades = table.images[:, 0, 0, 0].long()
    grey, tenth = table.attributes["grey"], table.attributes["tenth"]
    known = grey >= 0
    assert torch.equal(grey[known], shades[known])
    torch.testing.assert_close(tenth[known], shades[known] / 10 + 0.05)
    assert tenth[~known].isnan().all()
    assert table.labels is not None
    assert torch.equal(table.attributes["animal"][known], table.labels[known])
    assert len(table) == len(grey) == len(tenth)
    return int(known.sum())


@pytest.mark.parametrize("splits", [("",), ("train", "test")])
def test_rows_belong_to_their_images_in_every_split(
    tmp_path: Path, splits: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    make_folder(root, splits)
    for bad in ("cat/1.png", "dog/0.png"):
        (root / splits[0] / bad).write_bytes(b"no image")
    first = opened(root, bad_files="skip")

    def refused(*_: Any) -> None:
        raise AssertionError("decoded a second time")

    monkeypatch.setattr(decoding, "decode", refused)
    for data in (first, opened(root, bad_files="skip")):
        tables = (data.train, data.val, data.test)
        assert all(len(table) >= 2 for table in tables)
        total = 12 * len(splits) - 2
        assert sum(len(table) for table in tables) == total
        assert sum(map(assert_rows_belong, tables)) == total - 2 * len(splits)
    assert first.checksum == data.checksum


def test_a_changed_file_is_read_again_and_makes_another_data_set(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make_folder(root)
    before = opened(root)
    path = root / "attributes.csv"
    path.write_text(path.read_text().replace("cat", "dog").replace("dog/", "cat/", 1))
    assert opened(root).checksum != before.checksum
    assert opened(root, attributes=None).checksum != before.checksum
    assert opened(root, attributes=None).train.attributes == {}


@pytest.mark.parametrize("given", ["root/", "./root", ".", "../root", "~/root"])
def test_the_folder_may_be_given_in_any_way(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    make_folder(root)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(root if given in (".", "../root") else tmp_path)
    data = opened(given, data_dir=tmp_path / "cache")
    assert sum(map(assert_rows_belong, (data.train, data.val, data.test))) == 10


def test_loose_images_have_attributes_too(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for number in range(8):
        Image.new("L", (6, 6), 10 + number).save(root / f"{number}.png")
    lines = [f"{number}.png,{10 + number}" for number in range(8)]
    (root / "attributes.csv").write_text("\n".join(["file,grey", *lines]))
    data = opened(root)
    for table in (data.train, data.val, data.test):
        assert torch.equal(table.attributes["grey"], table.images[:, 0, 0, 0].long())
