"""Curves: seeds taken together, drawn in dots and as files."""

import json
import re
import statistics
import sys
from pathlib import Path

import pytest

from dlrun.commands.plot import run as plot
from dlrun.errors import UserError
from dlrun.files import write_json, write_text
from dlrun.results.braille import Canvas, draw
from dlrun.results.curves import Curve, curves, key_metric
from dlrun.results.seeds import by_seed
from dlrun.results.select import select

VALUES = {0: [0.2, 0.5, 0.9], 1: [0.4, 0.5, 0.7]}


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    for loss, shift in (("bce", 0.0), ("mse", 0.1)):
        for seed, values in VALUES.items():
            path = tmp_path / "outputs" / "sweeps" / "s" / f"{loss}{seed}"
            path.mkdir(parents=True)
            plain = {"method": {"name": "vae"}, "loss": {"name": loss}, "seed": seed}
            write_text(path / "config.yaml", json.dumps(plain))
            write_json(path / "status.json", {
                "state": "completed", "step": 30, "total": 30, "started": 1.0, "heartbeat": 1.0,
                "pid": 1, "host": "elsewhere", "reason": "",
            })  # fmt: skip
            write_json(path / "summary.json", {"key_metric": "knn", "best": {"val": 0.9}})
            rows = [
                {"step": 10 * (i + 1), "time": (i + 1) * (seed + 1.0), "val/knn": value + shift}
                for i, value in enumerate(values)
            ]
            if seed == 1:  # one seed has been further
                rows.append({"step": 40, "time": 9.0, "val/knn": 1.0})
            write_text(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "outputs"


def test_a_curve_is_the_mean_over_seeds_where_all_have_been(outputs: Path) -> None:
    groups = by_seed(select(["s"], outputs)[0])
    assert key_metric(groups) == "val/knn"
    first, second = curves(groups, "val/knn", "steps")
    pairs = list(zip(*VALUES.values(), strict=True))
    assert first.x == [10, 20, 30] and first.n == 2
    assert first.mean == pytest.approx([statistics.mean(pair) for pair in pairs])
    spread = [statistics.stdev(pair) for pair in pairs]
    assert [high - mean for high, mean in zip(first.high, first.mean, strict=True)] == (
        pytest.approx(spread)
    )
    assert first.label == "A loss=bce (n=2)" and second.label == "B loss=mse (n=2)"
    assert second.mean == pytest.approx([mean + 0.1 for mean in first.mean])
    assert curves(groups, "val/knn", "seconds")[0].x == pytest.approx([1.5, 3.0, 4.5])


def test_a_metric_that_is_not_there_is_told(outputs: Path) -> None:
    groups = by_seed(select(["s"], outputs)[0])
    with pytest.raises(UserError, match="Did you mean val/knn"):
        curves(groups, "knn", "steps")
    with pytest.raises(UserError, match="there are val/knn"):
        curves(groups, "zzz", "steps")


def test_dots_lie_where_they_belong() -> None:
    canvas = Canvas(2, 1)
    canvas.dot(0, 0, 31)
    canvas.dot(3, 3, 31)
    canvas.dot(99, 99, 31)
    assert canvas.rows(False) == ["⠁⢀"]
    canvas = Canvas(2, 1)
    canvas.line((0, 3), (3, 0), 31)
    assert canvas.rows(False) == ["⡠⠊"]
    assert canvas.rows(True) == ["\x1b[31m⡠\x1b[0m\x1b[31m⠊\x1b[0m"]


def test_the_drawing_fits_and_rises_where_the_curve_does() -> None:
    rising = Curve("A rises", [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2], 1)
    lines = draw([rising], "val/knn", "steps", 60, 8, coloured=False)
    assert max(map(len, lines)) <= 60
    rows = [line.partition("┤")[2] for line in lines if "┤" in line]
    starts = [re.search("[^⠀]", row) for row in rows]
    columns = [found.start() for found in starts if found]
    assert len(columns) == 8 and columns == sorted(columns, reverse=True)
    assert rows[0].endswith("A") and lines[1].startswith("2 ┤") and lines[8].startswith("0 ┤")
    assert lines[-1] == "━━ A rises: last 2"
    flat = Curve("A flat", [5.0], [0.0], [0.0], [0.0], 1)
    assert any("A" in line for line in draw([flat], "x", "steps", 60, 8, coloured=False)[1:9])


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_files(outputs: Path, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra dlrun[plot] is not installed")
    path = tmp_path / f"curves.{ending}"
    assert plot(["s", "--outputs", str(outputs), "--out", str(path)]) == 0
    content = path.read_bytes()
    if ending == "png":
        from PIL import Image

        with Image.open(path) as picture:
            assert picture.size == (1200, 750)
            assert len(picture.convert("RGB").getcolors(2**20) or []) > 50
    else:
        assert b"<svg" in content
        if ending == "html":
            text = content.decode()
            assert "A loss=bce (n=2)" in text and "<td>0.3</td>" in text
            loaded = re.findall(r'(?:src|href)="(?!#)[^"]*"', text)
            assert loaded == []  # one file, which needs no other


def test_mistakes_with_files_are_told_before_anything_is_read(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"expected a name that ends in \.png"):
        plot(["s", "--out", "curves.jpg"])
    with pytest.raises(UserError, match="there is no folder"):
        plot(["s", "--out", str(tmp_path / "none" / "a.png")])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'dlrun\[plot\]'"):
        plot(["s", "--outputs", str(outputs), "--out", str(tmp_path / "a.png")])
