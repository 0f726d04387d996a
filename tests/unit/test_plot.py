"""Curves: seeds taken together, drawn in dots and as files."""

import re
import statistics
import sys
from pathlib import Path

import pytest
from PIL import Image
from run_folders import make_run

from dlrun.commands.plot import run as plot
from dlrun.errors import UserError
from dlrun.runs.curves import Curve, curve, curves, key_metric
from dlrun.runs.groups import SeedGroup, by_seed
from dlrun.runs.run import Run
from dlrun.runs.select import select
from dlrun.runs.statistics import spread
from dlrun.views.curves import Cells, draw, draw_line

VALUES = {0: [0.2, 0.5, 0.9], 1: [0.4, 0.5, 0.7]}


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    for loss, shift in (("bce", 0.0), ("mse", 0.1)):
        for seed, values in VALUES.items():
            val = [value + shift for value in values]
            steps = [10, 20, 30]
            if seed == 1:  # one seed has been further
                val, steps = [*val, 0.6], [*steps, 40]
            path = tmp_path / "outputs" / "sweeps" / "s" / f"{loss}{seed}"
            make_run(path, val=val, steps=steps, seed=seed, config={"loss.name": loss})
    return tmp_path / "outputs"


def groups_of(outputs: Path) -> list[SeedGroup]:
    return by_seed(select(["s"], outputs).runs)


def test_a_curve_is_the_mean_over_seeds_where_all_have_been(outputs: Path) -> None:
    groups = groups_of(outputs)
    assert key_metric(groups) == "val/accuracy"
    first, second = curves(groups, "val/accuracy")
    pairs = list(zip(*VALUES.values(), strict=True))
    assert first.steps == [10, 20, 30] and first.n == 2
    assert first.mean == pytest.approx([statistics.mean(pair) for pair in pairs])
    assert [v.std for v in first.values] == pytest.approx([statistics.stdev(p) for p in pairs])
    assert [(v.low, v.high, v.n) for v in first.values] == [
        (min(pair), max(pair), 2) for pair in pairs
    ]
    assert first.band(1)[0] == pytest.approx(0.3 + statistics.stdev([0.2, 0.4]))
    assert first.label == "A loss=bce (n=2)" and second.label == "B loss=mse (n=2)"
    assert second.mean == pytest.approx([mean + 0.1 for mean in first.mean])
    assert first.x("seconds") == pytest.approx([1.5, 2.5, 3.5])
    assert first.x("steps") == [10, 20, 30]


def test_a_curve_is_of_complete_runs_or_where_there_is_none_of_all(tmp_path: Path) -> None:
    def group(*states: str) -> SeedGroup:
        paths = [
            make_run(
                tmp_path / "-".join(states) / str(seed), seed=seed, state=state,
                steps=[10, 20, 30][: 3 - seed], val=[0.1, 0.2, 0.3][: 3 - seed],
            )
            for seed, state in enumerate(states)
        ]  # fmt: skip
        (found,) = by_seed([Run(path) for path in paths])
        return found

    drawn = curve(group("completed", "completed", "failed"), "val/accuracy")
    assert (drawn.n, drawn.steps) == (2, [10, 20])
    drawn = curve(group("completed", "running"), "val/accuracy")
    assert (drawn.n, drawn.steps) == (1, [10, 20, 30])
    drawn = curve(group("running", "failed"), "val/accuracy")
    assert (drawn.n, drawn.steps) == (2, [10, 20])
    assert curve(group("completed"), "val/nothing").steps == []


def test_a_step_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    for seed, values in enumerate(([0.1, 0.2, float("nan")], [0.3, float("inf"), 0.5])):
        make_run(tmp_path / str(seed), seed=seed, val=values)
    (group,) = by_seed([Run(path) for path in tmp_path.iterdir()])
    drawn = curve(group, "val/accuracy")
    assert (drawn.steps, drawn.mean) == ([10], [pytest.approx(0.2)])


def test_a_metric_that_is_not_there_is_told(outputs: Path) -> None:
    groups = groups_of(outputs)
    with pytest.raises(UserError, match="Did you mean val/accuracy"):
        curves(groups, "accuracy")
    with pytest.raises(UserError, match="there are train/loss, val/accuracy"):
        curves(groups, "zzz")


def test_dots_lie_where_they_belong() -> None:
    cells: Cells = {}
    draw_line(cells, [(0, 0)], 1, 0)
    draw_line(cells, [(3, 3)], 1, 1)
    assert cells == {(0, 0): ("⠁", 0), (0, 1): ("⢀", 1)}
    cells = {}
    draw_line(cells, [(0, 3), (3, 0)], 1, 0)
    assert cells == {(0, 0): ("⡠", 0), (0, 1): ("⠊", 0)}
    draw_line(cells, [(0, 3), (3, 3)], 2, 1)  # dotted, and over the other
    assert cells == {(0, 0): ("⡠", 1), (0, 1): ("⡊", 1)}


def test_the_drawing_fits_and_rises_where_the_curve_does() -> None:
    rising = Curve("A rises", [0, 1, 2], [0, 1, 2], [spread([y]) for y in (0, 1, 2)], 1)
    lines = draw([rising], "val/knn", "steps", 60, 8, coloured=False)
    assert max(map(len, lines)) <= 60
    rows = [line.partition("┤")[2] for line in lines if "┤" in line]
    starts = [re.search("[^⠀]", row) for row in rows]
    columns = [found.start() for found in starts if found]
    assert len(columns) == 8 and columns == sorted(columns, reverse=True)
    assert rows[0].endswith("A") and lines[1].startswith("2 ┤") and lines[8].startswith("0 ┤")
    assert lines[-1] == "━━ A rises: last 2"
    flat = Curve("A flat", [5], [0.0], [spread([0.0])], 1)
    assert any("A" in line for line in draw([flat], "x", "steps", 60, 8, coloured=False)[1:9])


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_files(outputs: Path, tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra dlrun[plot] is not installed")
    path = tmp_path / f"curves.{ending}"
    assert plot(["s", "--outputs", str(outputs), "--out", str(path)]) == 0
    if ending == "png":
        with Image.open(path) as picture:
            assert picture.size == (1200, 750)
            assert len(picture.convert("RGB").getcolors(2**20) or []) > 50
        return
    text = path.read_text()
    assert "<svg" in text
    if ending == "html":
        assert "A loss=bce (n=2)" in text and "<td>0.3</td>" in text
        assert re.findall(r'(?:src|href)="(?!#)[^"]*"', text) == []  # it needs no other file


def test_mistakes_with_files_are_told_before_anything_is_read(
    tmp_path: Path, outputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"expected a name that ends in \.png"):
        plot(["s", "--out", "curves.jpg"])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'dlrun\[plot\]'"):
        plot(["s", "--outputs", str(outputs), "--out", str(tmp_path / "a.png")])


def test_a_run_without_a_key_metric_says_what_can_be_drawn(tmp_path: Path) -> None:
    make_run(tmp_path / "s" / "a", key_metric=None)
    with pytest.raises(UserError, match=r"none of these runs has a key metric; .*: train/loss"):
        key_metric(by_seed(select([str(tmp_path / "s")], tmp_path).runs))
