"""What people read: names that are suggested, values as they would be typed, short paths."""

from pathlib import Path

import pytest

from dlrun.text import short, suggest


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
