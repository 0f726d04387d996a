"""`dlrun ls` as it is printed."""

import csv
import io
import json
from pathlib import Path

import pytest

from dlrun.commands.columns import columns
from dlrun.commands.ls import run as ls
from dlrun.errors import UserError
from dlrun.files import write_json, write_text


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for number, (method, lr, best) in enumerate(
        [("byol", 0.1, 0.5), ("vae", 0.01, 0.9), ("byol", 0.001, 0.7)]
    ):
        path = tmp_path / "outputs" / "sweeps" / "mine" / f"r{number}"
        path.mkdir(parents=True)
        plain = {
            "method": {"name": method}, "dataset": {"name": "d"}, "seed": number,
            "optimizer": {"lr": lr},
        }  # fmt: skip
        write_text(path / "config.yaml", json.dumps(plain))
        write_json(path / "status.json", {
            "state": "failed" if number == 2 else "completed", "step": 5, "total": 10,
            "started": 1.0, "heartbeat": 1.0, "pid": 1, "host": "elsewhere", "reason": "",
        })  # fmt: skip
        write_json(path / "summary.json", {"key_metric": "knn", "best": {"val": best}})
    return tmp_path / "outputs"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert ls(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines[2:]]


def test_the_table(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    assert lines[0].split() == [
        "run",
        "status",
        "method",
        "data",
        "set",
        "seed",
        "best",
        "on",
        "val",
    ]
    assert lines[2].split() == ["r0", "completed", "byol", "d", "0", "knn", "0.5"]
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
    assert [(row["run"], row["best"], row["metric"]) for row in rows] == [("r1", 0.9, "knn")]
    table = csv.DictReader(io.StringIO("\n".join(printed(capsys, "--csv"))))
    assert [row["optimizer.lr"] for row in table] == ["0.1", "0.01", "0.001"]
    assert printed(capsys, "--json", "seed=7") == ["[]"]


def test_what_is_not_there_is_told(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "seed=7") == ["no run with seed=7; seed is 0, 1, 2"]
    (outputs / "none").mkdir()
    assert printed(capsys, str(outputs / "none"))[0].startswith("no run below")
    for arguments, told in (
        (["nothing"], "no such folder, nor a sweep"),
        (["mine", "other"], "one folder at a time"),
        (["--limit", "0"], "expected 1 or more"),
        (["--json", "--csv"], "--csv: not allowed with argument --json"),
        (["sed=1"], "Did you mean seed=1"),
    ):
        with pytest.raises(UserError, match=told):
            ls(arguments)


def test_a_narrow_screen_cuts_one_column_alone() -> None:
    rows = [
        ("r" * 18, "completed", "supervised", "a_long_data_set_name", "0", "negative_elbo 480.7")
    ]
    header = ("run", "status", "method", "data set", "seed", "best on val")
    lines = columns(header, rows, 80, 3, lambda _, cell: cell)
    assert max(map(len, lines)) == 80
    assert "a_long_data_se…" in lines[2] and lines[2].endswith("negative_elbo 480.7")
    assert "a_long_data_set_name" in columns(header, rows, 200, 3, lambda _, cell: cell)[2]
