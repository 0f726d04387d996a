"""What people read: names that are suggested, values as they would be typed, short paths."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from dlrun.text import csv_writer, flatten, short, show, suggest


def test_suggest() -> None:
    assert suggest("epoch", ["epochs", "seed"]) == ". Did you mean epochs?"
    assert suggest("lrr", ["lr"], "optimizer.{}".format) == ". Did you mean optimizer.lr?"
    assert suggest("zzz", ["lr", "eps"]) == "; expected one of lr, eps"
    assert suggest("zzz", ["lr"], listed="see --help") == "; see --help"
    assert suggest("zzz", []) == ""


def test_short_below_the_current_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert short(tmp_path / "a" / "b") == str(Path("a") / "b")
    assert short("a") == "a"
    assert short("/elsewhere") == "/elsewhere"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"), (True, "true"), (1e-8, "1e-08"), ("plain text", "plain text"), ("", "''"),
        ("3", "'3'"), ("nan", "'nan'"), ("True", "'True'"), ("null", "'null'"), (" x", "' x'"),
        ("a\tb", "'a\\tb'"), ([1, "a", [None]], "[1, a, [null]]"),
        ({"a": {"b": False}}, "{a: {b: false}}"),
    ],
)  # fmt: skip
def test_show(value: Any, shown: str) -> None:
    assert show(value) == shown


def test_flatten() -> None:
    tree = {"a": {"b": 1, "c": {"d": [2]}}, "e": {}, "f": None}
    assert flatten(tree) == {"a.b": 1, "a.c.d": [2], "e": {}, "f": None}


def test_a_line_break_in_a_cell_begins_no_row_of_csv() -> None:
    rows = [["a\rb", "c"], ["d\ne", "f\r\n"], ["plain", "1"]]
    writer = csv_writer(file := io.StringIO())
    writer.writerows(rows)
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == rows
    assert file.getvalue().endswith("\nplain,1\n")
