"""`dlrun ls` as it is printed."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from run_folders import make_run

from dlrun.commands.ls import run as ls
from dlrun.console import Console
from dlrun.errors import UserError
from dlrun.runs.run import Run
from dlrun.views.runs import print_runs


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for number, (method, lr, best) in enumerate(
        [("byol", 0.1, 0.5), ("vae", 0.01, 0.9), ("byol", 0.001, 0.7)]
    ):
        config = {"method.name": method, "dataset.name": "d"}
        state = "failed" if number == 2 else "completed"
        path = tmp_path / "outputs" / "sweeps" / "mine" / f"r{number}"
        make_run(path, best, state=state, steps=(15,), seed=number, lr=lr, config=config)
    return tmp_path / "outputs"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert ls(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[2:]]


def test_the_table(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    assert " ".join(lines[0].split()) == "run status method data set seed best on val"
    assert lines[2].split() == ["r0", "completed", "byol", "d", "0", "accuracy", "0.5"]
    assert lines[4].split()[:3] == ["r2", "failed", "50%"]
    assert names(printed(capsys, "method=byol", "optimizer.lr<0.01")) == ["r2"]
    assert names(printed(capsys, "mine", "status=completed")) == ["r0", "r1"]
    assert names(printed(capsys, str(outputs / "sweeps"))) == ["r0", "r1", "r2"]


def test_order_and_limit(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert names(printed(capsys, "--sort", "val.best")) == ["r0", "r2", "r1"]
    assert names(printed(capsys, "--sort", "val.best", "--reverse", "--limit", "1")) == ["r1"]
    assert names(printed(capsys, "--limit", "2")) == ["r1", "r2"]  # the latest
    assert names(printed(capsys, "--reverse", "--limit", "2")) == ["r2", "r1"]


def test_for_programs(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads("\n".join(printed(capsys, "--json", "method=vae")))
    keys = ("run", "val.best", "key_metric", "optimizer.lr", "test.accuracy", "done")
    assert [[row[key] for key in keys] for row in rows] == [["r1", 0.9, "accuracy", 0.01, 0.9, 0.5]]
    table = csv.DictReader(io.StringIO("\n".join(printed(capsys, "--csv"))))
    assert [row["optimizer.lr"] for row in table] == ["0.1", "0.01", "0.001"]
    assert printed(capsys, "--json", "seed=7") == ["[]"]


def test_what_is_not_there_is_told(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "seed=7") == ["no run with seed=7; seed is 0, 1, 2"]
    (outputs / "none").mkdir()
    assert printed(capsys, str(outputs / "none"))[0].startswith("no run below")
    for arguments, told in (
        (["nothing"], "no such folder, nor a run or sweep of that name"),
        (["--outputs", "nowhere"], "nowhere: no such folder"),
        (["--limit", "0"], "expected an integer >= 1"),
        (["--json", "--csv"], "--csv: not allowed with argument --json"),
        (["--all", "--limit", "1"], "--limit: not allowed with argument --all"),
        (["sed=1"], "Did you mean seed=1"),
        (["seed=7", "--sort", "nosuch"], "--sort nosuch: no run has nosuch"),
    ):
        with pytest.raises(UserError, match=told):
            ls(arguments)


def test_the_table_has_the_latest_and_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(53):
        path = make_run(tmp_path / f"r{number:02d}", seed=number)
        os.utime(path / "config.yaml", (number, number))
    assert ls([str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert names(told.out.splitlines()) == [f"r{number:02d}" for number in range(3, 53)]
    assert told.err == "dlrun: 50 of 53 runs; --all shows them all\n"
    assert len(names(printed(capsys, str(tmp_path), "--all"))) == 53
    assert len(json.loads("\n".join(printed(capsys, str(tmp_path), "--json")))) == 53
    assert names(printed(capsys, str(tmp_path), "--sort", "seed"))[0] == "r00"


@pytest.mark.parametrize(("no_color", "coloured"), [("1", False), ("", True)])
def test_no_color_is_honoured(
    tmp_path: Path, no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    shown = io.StringIO()
    console = Console(force_terminal=True, color_system="standard", file=shown)
    print_runs([Run(make_run(tmp_path / "run"))], console)
    assert ("\x1b[" in shown.getvalue()) == console.is_coloured == coloured


def test_a_narrow_screen_cuts_the_data_set_alone(tmp_path: Path) -> None:
    config = {"dataset.name": "a_long_data_set_name"}
    path = make_run(tmp_path / ("r" * 18), 0.5, config=config, key_metric="negative_elbo")

    def line(width: int, terminal: bool) -> str:
        shown = io.StringIO()
        console = Console(width=width, force_terminal=terminal, color_system=None, file=shown)
        print_runs([Run(path)], console)
        return shown.getvalue().splitlines()[2]

    assert len(line(80, True)) <= 80
    assert "a_long_data…" in line(80, True) and line(80, True).endswith("negative_elbo 0.5")
    assert "a_long_data_set_name" in line(200, True)
    assert "a_long_data_set_name" in line(80, False)  # a pipe has no edge
