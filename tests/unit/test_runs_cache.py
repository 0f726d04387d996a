"""The index of runs: fast, never the truth, and several processes may write it at once."""

import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from dlrun.files import write_json, write_text
from dlrun.runs import cache, record
from dlrun.runs.cache import index_file, records
from dlrun.runs.scan import scan


@pytest.fixture(autouse=True)
def own_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make_run(path: Path, seed: int = 0, state: str = "completed", best: float = 0.5) -> Path:
    path.mkdir(parents=True)
    write_text(path / "config.yaml", f"method:\n  name: vae\nseed: {seed}\nlr: 1e-3\n")
    status = {
        "state": state, "step": 5, "total": 10, "started": 1.5, "heartbeat": 2.0, "pid": 1,
        "host": "elsewhere", "reason": "",
    }  # fmt: skip
    write_json(path / "status.json", status)
    write_json(path / "summary.json", {"key_metric": "knn", "best": {"val": best}})
    os.utime(path / "config.yaml", (1000 + seed, 1000 + seed))
    return path


def names(outputs: Path) -> list[str]:
    runs, trouble = records(outputs)
    assert trouble is None
    return [run.name for run in runs]


def test_the_second_list_reads_no_folder_and_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(5):
        make_run(tmp_path / "outputs" / "d" / f"r{seed}", seed)
    first, _ = records(tmp_path / "outputs")
    monkeypatch.setattr(cache, "read_record", lambda path: pytest.fail(f"{path} was read again"))
    assert records(tmp_path / "outputs") == (first, None)
    assert [run.config for run in first] == [
        {"method.name": "vae", "seed": seed, "lr": 0.001} for seed in range(5)
    ]


def test_what_changes_in_the_folders_is_noticed(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    runs = [make_run(outputs / "d" / f"r{seed}", seed) for seed in range(4)]
    assert names(outputs) == ["r0", "r1", "r2", "r3"]
    shutil.rmtree(runs[0])
    runs[1].rename(outputs / "moved")
    edited = (runs[2] / "config.yaml").read_text().replace("vae", "gan")
    write_text(runs[2] / "config.yaml", edited)  # of the same size
    os.utime(runs[2] / "config.yaml", (1002, 1002))  # and of the same age
    write_json(runs[3] / "summary.json", {"key_metric": "knn", "best": {"val": 0.75}})
    found, _ = records(outputs)
    assert [(run.name, run.method, run.best_val) for run in found] == [
        ("moved", "vae", 0.5), ("r2", "gan", 0.5), ("r3", "vae", 0.75),
    ]  # fmt: skip
    with sqlite3.connect(index_file()) as connection:
        kept = {Path(path).name for (path,) in connection.execute("SELECT path FROM runs")}
    assert kept == {"moved", "r2", "r3"}


def test_half_a_run_is_no_run_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    make_run(outputs / "whole")
    (outputs / "claimed").mkdir()
    (outputs / "no_status").mkdir()
    (outputs / "no_status" / "config.yaml").write_text("method: {name: vae}\n")
    (make_run(outputs / "bad_status", 1) / "status.json").write_text('{"state": "runn')
    (make_run(outputs / "bad_config", 2) / "config.yaml").write_text("a: [")
    found, _ = records(outputs)
    assert [(run.name, run.state, run.reason) for run in found if run.name != "whole"] == [
        ("bad_status", "unknown", "status.json cannot be read"),
        ("bad_config", "completed", "config.yaml cannot be read"),
    ]


def test_a_killed_run_is_told_as_interrupted_from_the_index_too(tmp_path: Path) -> None:
    path = make_run(tmp_path / "outputs" / "r", state="running")
    status = json.loads((path / "status.json").read_text())
    import socket

    write_json(path / "status.json", {**status, "host": socket.gethostname()})
    for _ in range(2):
        assert [run.state for run in records(tmp_path / "outputs")[0]] == ["interrupted"]


def test_a_folder_inside_shares_the_index_but_sees_itself_alone(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    make_run(outputs / "sweeps" / "a" / "r0")
    make_run(outputs / "sweeps" / "ab" / "r1", 1)
    assert names(outputs) == ["r0", "r1"]
    assert names(outputs / "sweeps" / "a") == ["r0"]
    assert names(outputs) == ["r0", "r1"]


@pytest.mark.parametrize("damage", ["garbage", "folder", "no_room"])
def test_an_index_that_cannot_be_used_costs_a_line_and_nothing_else(
    tmp_path: Path, damage: str
) -> None:
    make_run(tmp_path / "outputs" / "r0")
    before, _ = records(tmp_path / "outputs")
    path = index_file()
    for leftover in path.parent.iterdir():
        leftover.unlink()
    if damage == "garbage":
        path.write_bytes(b"no database" * 1000)
    elif damage == "folder":
        path.mkdir()
    else:
        path.parent.rmdir()
        path.parent.write_text("a file where the folder should be")
    runs, trouble = records(tmp_path / "outputs")
    assert runs == before
    assert trouble is not None and str(path) in trouble
    assert "the folders were read instead" in trouble and "\n" not in trouble


def test_an_index_that_may_only_be_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "outputs" / "r0")
    records(tmp_path / "outputs")
    make_run(tmp_path / "outputs" / "r1", 1)

    def connect(path: Path, **options: object) -> sqlite3.Connection:
        return sqlite3.Connection(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    monkeypatch.setattr(cache.sqlite3, "connect", connect)
    runs, trouble = records(tmp_path / "outputs")
    assert [run.name for run in runs] == ["r0", "r1"]
    assert trouble is not None and "readonly" in trouble


def index_part(outputs: str, part: int) -> int:
    for seed in range(part * 25, part * 25 + 25):
        make_run(Path(outputs) / f"part{part}" / f"r{seed}", seed)
        records(Path(outputs) / f"part{part}")
    return len(records(Path(outputs))[0])


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.starmap(index_part, [(str(outputs), part) for part in range(4)])
    with sqlite3.connect(index_file()) as connection:
        rows = dict(connection.execute("SELECT path, record FROM runs").fetchall())
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = scan(outputs)
    assert len(found) == 100 and set(rows) == {run.path for run in found}
    assert {p: json.loads(text)["config"]["seed"] for p, text in rows.items()} == {
        run.path: int(Path(run.path).name[1:]) for run in found
    }


def test_an_index_of_another_shape_is_read_anew(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs" / "r0")
    before, _ = records(tmp_path / "outputs")
    row = {**asdict(before[0]), "colour": "blue"}
    with sqlite3.connect(index_file()) as connection:
        connection.execute("UPDATE runs SET record = ?", (json.dumps(row),))
    assert records(tmp_path / "outputs") == (before, None)


def test_listing_imports_neither_torch_nor_hydra(tmp_path: Path) -> None:
    make_run(tmp_path / "outputs" / "r0")
    code = (
        "import sys; from dlrun.cli import run; run(['ls', '--outputs', sys.argv[1]]); "
        "print(sorted({'torch', 'hydra', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "outputs")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "text",
    [
        "method:\n  name: vae\ngroups:\n- a\n- b\nname: 'x\n  y'\nlr: 1e-3\n",
        "method: {name: vae}\nnote: |\n  two\n\n  lines\nseed: 1\n",
        "# by hand\n\nmethod:\n  name: vae\n\n# and again\nseed: 1",
        "---\nmethod: {name: vae}\nfirst: &a [1, 2]\nsecond: *a\n",
        "method: {name: vae}\n'quoted': 2\nseed: 1\nseed: 2\n",
    ],
)
def test_a_config_read_by_its_keys_is_what_yaml_makes_of_the_whole(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert record._load_yaml(tmp_path / "config.yaml") == yaml.load(text, record._loader())
