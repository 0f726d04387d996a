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
from dlrun.data.sources.attributes import Asked, Attributes, read_attributes
from dlrun.data.sources.image_folder import ImageFolder
from dlrun.data.table import DataSet, Table
from dlrun.errors import UserError
from dlrun.options import Choice

NAMES = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")


def attributes(folder: Path, text: str | bytes, **asked: Any) -> Attributes:
    """What a CSV file says of the four images below `folder`."""
    path = folder / "attributes.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_attributes(path, folder, [f"{folder}/{name}" for name in NAMES], Asked(**asked))


def read(folder: Path, text: str | bytes, **asked: Any) -> dict[str, Tensor]:
    """Its columns."""
    return attributes(folder, text, **asked).columns


def of_cells(folder: Path, *cells: str, **asked: Any) -> Attributes:
    """A table with the column x of these cells, one for each image."""
    lines = [f"{name},{cell}" for name, cell in zip(NAMES, cells, strict=True)]
    return attributes(folder, "\n".join(["file,x", *lines]), **asked)


def values_of(made: Attributes) -> list[str | float | None]:
    """Of the column x: the names of its classes, or its numbers."""
    column = made.columns["x"]
    if column.is_floating_point():
        return [None if value != value else value for value in column.tolist()]
    names = made.value_names["x"]
    return [None if code < 0 else names[code] for code in column.tolist()]


def assert_is(found: Tensor, *values: float | None) -> None:
    """Classes where all values are whole, numbers where one is not; None is missing."""
    if found.is_floating_point():
        expected = torch.tensor([float("nan") if v is None else v for v in values])
    else:
        expected = torch.tensor([-1 if v is None else v for v in values])
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


# --- what a cell means ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        # Whole numbers from 0 to 19, two values of any kind, and texts are classes,
        (("0", "3", "1", "3"), ("0", "3", "1", "3")),
        (("0", "", " ", "3"), ("0", None, None, "3")),
        ((" 2 ", "007", "1", "0"), ("2", "7", "1", "0")),
        (("-1", "1", "1", "-1"), ("-1", "1", "1", "-1")),
        (("1.0", "0.0", "NaN", "1"), ("1", "0", None, "1")),
        (("True", "False", "nan", "True"), ("True", "False", None, "True")),
        (("1", "0", "NA", "#N/A"), ("1", "0", None, None)),
        (("null", "None", "<NA>", "2017"), (None, None, None, "2017")),
        (("-", "?", "n/a", "red"), (None, None, None, "red")),
        (("none", "sun", "none", "sun"), ("none", "sun", "none", "sun")),
        (("red", "blue", "red", ""), ("red", "blue", "red", None)),
        (('"a, b"', '"say ""yes"""', '"a, b"', "ü"), ("a, b", 'say "yes"', "a, b", "ü")),
        # other numbers are numbers.
        (("0.5", "3", "1e2", "-4"), (0.5, 3.0, 100.0, -4.0)),
        (("0.5", "", "1", "2"), (0.5, None, 1.0, 2.0)),
        (('"3,5"', "4", '"-0,25"', ""), (3.5, 4.0, -0.25, None)),
        (('"1,250"', '"3,5"', "4", "5"), (1.25, 3.5, 4.0, 5.0)),
    ],
)
def test_what_a_cell_means(
    tmp_path: Path, cells: tuple[str, ...], values: tuple[str | float | None, ...]
) -> None:
    assert values_of(of_cells(tmp_path, *cells)) == list(values)


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        (("2017", "2018", "2019", ""), "3 different whole numbers, 2017 to 2019"),
        (("1.0", "2.0", "3.0", "4.0"), "4 different whole numbers, 1 to 4"),
        (("-1", "0", "1", "1"), "3 different whole numbers, -1 to 1"),
        (("31", "45", "31 y", "9"), "'31 y' in line 4 is none"),
        (("31", "1_000", "9", "8"), "'1_000' in line 3 is none"),
        (("٣", "1", "2", "3"), "'٣' in line 2 is none"),
        (('"1,000"', '"2,500"', "7", "8"), "'1,000' in line 2 is none"),
        (("inf", "1", "2", "3"), "'inf' in line 2 is none"),
        (("1e999", "1", "2", "3"), "too large"),
        (("", "nan", "", "-"), "no image has a value"),
    ],
)
def test_a_column_in_doubt_is_left_out_with_the_reason(
    tmp_path: Path, cells: tuple[str, ...], why: str
) -> None:
    made = of_cells(tmp_path, *cells)
    assert not made.columns and why in made.doubts["x"] and why in made.report[0]


def test_the_user_decides_of_what_is_in_doubt(tmp_path: Path) -> None:
    years = ("2017", "2018", "2019", "")
    assert values_of(of_cells(tmp_path, *years, numbers=("x",))) == [2017, 2018, 2019, None]
    assert values_of(of_cells(tmp_path, *years, categories=("x",))) == [*years[:3], None]
    assert values_of(of_cells(tmp_path, *years, label="x")) == [*years[:3], None]
    ages = ("0-2", "38", "4-6", "38")
    assert values_of(of_cells(tmp_path, *ages, categories=("x",))) == list(ages)
    ids = ("12345678901234567", "12345678901234568", "1", "2")  # equal as floats
    assert values_of(of_cells(tmp_path, *ids, categories=("x",))) == list(ids)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (("31", "31 y", "x", "9"), "no numbers: '31 y' in line 3, 'x' in line 4; write a plain"),
        (("31", '"1,000"', "8", "9"), "'1,000' in line 3; write 1000 .or 1.000"),
        (("1", "2", "1e999", "4"), "too large: '1e999' in line 4"),
        (("1", "inf", "3", "4"), "no numbers: 'inf' in line 3"),
        (("", "", "-", ""), "is empty"),
    ],
)
def test_a_column_that_is_to_be_numbers_has_no_other_cell(
    tmp_path: Path, cells: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=rf"attributes\.csv.*{said}|column x .*{said}"):
        of_cells(tmp_path, *cells, numbers=("x",))


def test_the_line_of_a_cell_counts_the_lines_of_quoted_ones(tmp_path: Path) -> None:
    text = 'file,note,age\ncat/1.png,"two\nlines",3\n\ncat/2.png,,x\n'
    with pytest.raises(UserError, match="'x' in line 5;"):
        read(tmp_path, text, numbers=("age",))


def test_what_a_column_is_asked_to_be(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset\.numbers: x is to be classes as well"):
        of_cells(tmp_path, "1", "2", "3", "4", numbers=("x",), label="x")
    with pytest.raises(UserError, match=r"dataset\.categories: .* no column 'y'; it has x"):
        of_cells(tmp_path, "1", "2", "3", "4", categories=("y",))
    with pytest.raises(UserError, match=r"dataset\.label: .* has numbers such as 0\.5"):
        of_cells(tmp_path, "1", "0.5", "3", "4", label="x")


def test_how_a_file_is_named(tmp_path: Path) -> None:
    text = "file,x\n./cat/1.png,1\ncat\\2.png,2\ndog//1.png,3\n{}/dog/2.png,4\n"
    assert values_of(attributes(tmp_path, text.format(tmp_path))) == ["1", "2", "3", "4"]


def test_lines_without_images_and_images_without_lines_are_counted(tmp_path: Path) -> None:
    made = attributes(tmp_path, "file,x\ncat/1.png,a\nhorse/1.png,b\ncow/1.png,b\n")
    assert made.report == (
        "attributes.csv: x (1 class: a; 3 missing); 3 of 4 images have no line; 2 lines name no "
        "image of the folder",
    )


def test_two_lines_of_a_file_agree_or_are_refused(tmp_path: Path) -> None:
    text = "file,x\ncat/1.png,1\n./cat/1.png,{}\n"
    assert values_of(attributes(tmp_path, text.format(1)))[0] == "1"
    with pytest.raises(UserError, match=r"lines 2 and 3 are both of \./cat/1.png, with '1'"):
        attributes(tmp_path, text.format(2))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_encodings_of_spreadsheets(
    tmp_path: Path, separator: str, encoding: str
) -> None:
    lines = [("file", "", "x"), *((name, "0", "ü") for name in NAMES)]
    text = "\r\n".join(separator.join(line) for line in lines)
    for first in ("", f"sep={separator}\r\n"):  # which Excel asks for
        made = attributes(tmp_path, f"{first}{text}".encode(encoding))
        assert values_of(made) == ["ü"] * 4 and list(made.columns) == ["x"]


def test_lines_may_stand_in_any_order_and_other_files_are_passed_over(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "age,file,name\n4,dog/2.png,d\n9,horse/1.png,z\n\n1,cat/1.png,a\n3,dog/1.png,c\n",
    )
    assert list(found) == ["age", "name"]
    assert_is(found["age"], 0, None, 1, 2)
    assert_is(found["name"], 0, None, 1, 2)  # z is no class: no image has it


def test_a_line_may_be_too_short_for_the_last_columns(tmp_path: Path) -> None:
    made = attributes(tmp_path, "file,age,name\ncat/1.png\ncat/2.png,5\n")
    assert_is(made.columns["age"], None, 0, None, None)
    assert made.doubts == {"name": "no image has a value"}


def test_a_line_may_be_too_short_for_its_file(tmp_path: Path) -> None:
    assert_is(read(tmp_path, "age,file\n5\n7,cat/1.png\n")["age"], 0, None, None, None)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_files_of_spreadsheets_are_read(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(['"file","place"', '"cat/1.png","Málaga, Spain"', '"dog/2.png",Bonn', ""])
    assert_is(read(tmp_path, text.encode(encoding))["place"], 1, None, None, 0)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,age\ncat/1.png,3\n", "has the columns name,age; expected file and at least one"),
        ("file\ncat/1.png\n", "has the columns file; expected file and at least one other"),
        ("", r"has the columns \(none\)"),
        ("file,a.b\ncat/1.png,3\n", "'a.b' has a dot in its name"),
        ("file,a,a\ncat/1.png,3,4\n", "two columns 'a'"),
        ("file,age\n1.png,3\n", "knows none of the images; expected paths below .* cat/1.png"),
        ("file,age\n", "knows none of the images"),
        ("file,x\ncat/1.png,Málaga\n".encode("latin-1"), "line 2: not UTF-8"),
        ("file,label\ncat/1.png,3\n", "label"),  # the folders say what an image's label is
        ("file,x\ncat/1.png,3,5\n", "line 2: 3 cells, expected 2; quote a cell that holds a ','"),
        ('file,x\ncat/1.png,"3\ncat/2.png,4\n', "line 2: .* is a quotation mark missing"),
    ],
)
def test_a_file_that_says_nothing_of_the_images_is_refused(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    with pytest.raises(UserError, match=rf"dataset\.attributes: .*attributes\.csv.*{said}"):
        read(tmp_path, text)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "nothing.csv", "No such file.*below dataset.root"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(UserError, match=rf"dataset\.attributes: .*{said}"):
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
        "bits": "auto", "test_fraction": 0.25, "bad_files": "error",
        "attributes": "attributes.csv",
        "numbers": ("grey",), "categories": (), "label": None,
    }  # fmt: skip
    config = ImageFolder.Config(**(standard | changed))
    cache = str(data_dir or Path(root).absolute().parent / "cache")
    return open_dataset(Choice("image_folder", config), cache)


def assert_rows_belong(table: Table) -> int:
    """To the pixels and the labels; how many are known."""
    shades = table.images[:, 0, 0, 0].float()
    grey, tenth = table.attributes["grey"], table.attributes["tenth"]
    known = ~grey.isnan()
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
    path.write_text(path.read_text().replace(",dog", ",cow", 1))
    assert opened(root).checksum != before.checksum
    bare = opened(root, attributes=None)
    assert bare.checksum != before.checksum and bare.train.attributes == {}


@pytest.mark.parametrize("given", ["root/", "./root", ".", "../root"])
def test_the_folder_may_be_given_in_any_way(
    tmp_path: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    make_folder(root)
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
        assert torch.equal(table.attributes["grey"], table.images[:, 0, 0, 0].float())


def test_the_label_may_come_from_a_column(tmp_path: Path) -> None:
    """Of a flat folder, or in place of the folders' names; images without one are left out."""
    root = tmp_path / "root"
    make_folder(root)
    data = opened(root, label="animal")
    assert data.class_names == ("cat", "dog") and "animal" not in data.train.attributes
    assert len(data.train) + len(data.val) + len(data.test) == 10
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(12):
        Image.new("L", (6, 6), 10 + number).save(flat / f"{number}.png")
    lines = [f"{number}.png,{('dog', 'cat', '')[number % 3]}" for number in range(12)]
    (flat / "attributes.csv").write_text("\n".join(["file,label", *lines]))
    data = opened(flat, label="label", numbers=())
    assert data.class_names == ("cat", "dog")
    for table in (data.train, data.test):
        shade = table.images[:, 0, 0, 0].long() - 10
        assert table.labels is not None and torch.equal(table.labels, 1 - shade % 3)
    with pytest.raises(UserError, match=r"dataset\.label: animal .* dataset\.attributes="):
        opened(root, label="animal", attributes=None)
