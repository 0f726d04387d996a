"""What RUN, SWEEP and FILTER mean, in every command."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from run_folders import make_run, make_sweep

from dlrun.commands.compare import run as compare
from dlrun.commands.leaderboard import run as leaderboard
from dlrun.commands.ls import run as ls
from dlrun.commands.plot import run as plot
from dlrun.commands.report import run as report
from dlrun.commands.rm import run as rm
from dlrun.errors import UserError
from dlrun.files import write_json
from dlrun.runs.filters import NothingSelected
from dlrun.runs.folder import RunFolder
from dlrun.runs.run import runs_below
from dlrun.runs.select import find_run, select


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_sweep(tmp_path / "outputs")
    make_run(tmp_path / "outputs" / "fashion_mini" / "supervised" / "260101-101500-abcd-mine", 0.5)
    return tmp_path / "outputs"


def names(*given: str, outputs: Path = Path("outputs")) -> list[str]:
    return [run.name for run in select(given, outputs).runs]


def test_runs_sweeps_folders_beginnings_and_filters(outputs: Path) -> None:
    sweep = sorted(path.name for path in (outputs / "sweeps" / "sizes").iterdir())
    for word in ("sizes", "siz", str(outputs / "sweeps" / "sizes"), "outputs/sweeps"):
        assert sorted(names(word)) == sweep, word
    run = "260101-101500-abcd-mine"
    for word in (run, "260101", "mine", f"outputs/fashion_mini/supervised/{run}"):
        assert names(word) == [run], word
    assert sorted(names()) == sorted([*sweep, run])
    assert sorted(names("optimizer.lr=0.1", "sizes")) == ["0.1-0", "0.1-1", "0.1-2"]
    assert names("seed=2", "optimizer.lr<0.1") == ["0.01-2"]
    assert names("mine", "outputs/sweeps/sizes", "mine", "seed=1") == ["0.1-1", "0.01-1"]
    assert names("mine", "sizes", "mine", "seed=0") == [run, "0.1-0", "0.01-0"]


def test_what_a_selection_is_of(outputs: Path) -> None:
    found = select(["siz", "seed=0"], outputs)
    assert found.places == [outputs / "sweeps" / "sizes"]
    assert found.filters == ["seed=0"]
    assert select([], Path("../") / outputs.parent.name / "outputs").places == [outputs]


def test_names_that_are_not_known_or_not_clear(outputs: Path) -> None:
    make_sweep(outputs, "sizes2")
    assert len(names("sizes")) == 6
    for word, message in (
        ("nothing", "nor a run or sweep of that name"),
        ("0.1", "runs begin like this"),
        ("size", r"2 sweeps begin like this \(sizes, sizes2\)"),
        ("optimizer.lrr=1", r"Did you mean optimizer\.lr=1"),
    ):
        with pytest.raises(UserError, match=message):
            select([word], outputs)
    with pytest.raises(NothingSelected, match=r"no run with seed=9; seed is 0, 1, 2"):
        select(["sizes", "seed=9"], outputs)
    (outputs / "empty").mkdir()
    with pytest.raises(NothingSelected, match=r"no run below .*empty yet"):
        select([str(outputs / "empty")], outputs)
    with pytest.raises(UserError, match="other: no such folder"):
        select([], Path("other"))


def test_a_folder_that_exists_is_no_filter(tmp_path: Path) -> None:
    make_run(tmp_path / "lr=0.1" / "outputs" / "one")
    assert names(str(tmp_path / "lr=0.1" / "outputs"), outputs=tmp_path) == ["one"]


@pytest.mark.parametrize("command", [ls, compare, leaderboard, plot, report, rm])
def test_every_command_takes_the_same_words(
    outputs: Path, command: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--dry-run"] if command is rm else ["-o", "r.html"] if command is report else []
    told = []
    for words in (
        ["sizes", "seed=0,1"], ["siz", "seed<2"], ["outputs/sweeps", "seed!=2"],
        ["0.1-0", "0.1-1", "0.01-0", "0.01-1"],
    ):  # fmt: skip
        assert command([*words, *more]) == 0
        told.append(sorted(capsys.readouterr().out.splitlines()))
        if command is report:
            told[-1] = [line.rpartition(", ")[2] for line in told[-1]]
    assert told[0] and all(lines == told[0] for lines in told)
    for words, message in (
        (["nothing"], "nor a run or sweep of that name"),
        (["lrr=1"], "no run has lrr"),
    ):
        with pytest.raises(UserError, match=message):
            command([*words, *more])


def test_one_run_by_folder_name_and_beginning(tmp_path: Path) -> None:
    for number, name in enumerate(("260101-aaaa", "260101-abbb", "260202-cccc")):
        path = make_run(tmp_path / "d" / "m" / name)
        os.utime(path / "config.yaml", (number, number))
    assert find_run(str(tmp_path / "d" / "m" / "260101-abbb"), tmp_path).name == "260101-abbb"
    assert find_run("260202", tmp_path).name == "260202-cccc"
    assert find_run("260101-abbb", tmp_path).name == "260101-abbb"
    assert find_run("last", tmp_path).name == "260202-cccc"
    with pytest.raises(UserError, match=r"2 runs begin like this .* type more of it"):
        find_run("260101", tmp_path)
    with pytest.raises(UserError, match="the latest is 260202-cccc"):
        find_run("nothing", tmp_path)
    with pytest.raises(UserError, match="not a run"):
        find_run(str(tmp_path), tmp_path)


def test_one_run_by_the_name_that_the_user_gave_it(tmp_path: Path) -> None:
    def begin(name: str) -> None:
        folder = RunFolder(tmp_path / "d" / "m" / name)
        folder.prepare({"seed": 0})
        write_json(folder.status, {})

    given = ("260101-101500-abcd-mine", "260101-101501-abcd-my-own", "260101-101502-abcd-26")
    for name in given:
        begin(name)
    for short, name in zip(("mine", "my-own", "26"), given, strict=True):
        assert find_run(short, tmp_path).name == name
    begin("260102-101500-abcd-mine")
    with pytest.raises(UserError, match=r"2 runs begin like this .* type more of it"):
        find_run("mine", tmp_path)
    with pytest.raises(UserError, match="no run of that name"):
        find_run("own", tmp_path)
    assert len(runs_below(tmp_path)) == 4
