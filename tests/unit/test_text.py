"""What people read: names that are suggested, values as they would be typed, short paths."""

from pathlib import Path
from typing import Any

import pytest

from dlrun.text import flatten, short, show, suggest


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
