"""What rm and gc delete, and what they never do."""

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from dlrun.commands.gc import run as gc
from dlrun.commands.removing import sized
from dlrun.commands.rm import run as rm
from dlrun.errors import UserError
from dlrun.files import write_json, write_text
from dlrun.results.removal import garbage, size_of, users_of
from dlrun.runs.cache import records

OLD = time.time() - 40 * 86_400


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


def make_run(
    path: Path, state: str, step: int = 5, checkpoints: tuple[str, ...] = (), config: str = ""
) -> Path:
    (path / "checkpoints").mkdir(parents=True)
    write_text(path / "config.yaml", f"method:\n  name: vae\nseed: 0\n{config}")
    status = {
        "state": state, "step": step, "total": 10, "started": 1.0, "heartbeat": 1.0, "pid": 1,
        "host": "elsewhere", "reason": "",
    }  # fmt: skip
    write_json(path / "status.json", status)
    for name in checkpoints:
        (path / "checkpoints" / name).write_bytes(b"x" * 1000)
    return path


def found(outputs: Path, kinds: str = "failed empty checkpoints temporary") -> set[str]:
    runs, _ = records(outputs)
    items = garbage(outputs, runs, kinds.split(), 30)
    return {str(item.path.relative_to(outputs)) for item in items}


def test_gc_finds_what_no_result_stands_on_and_nothing_else(outputs: Path) -> None:
    make_run(outputs / "failed", "failed")
    make_run(outputs / "going", "running", 0, ("last.pt",))
    make_run(outputs / "cut_off", "interrupted", 5, ("last.pt",))
    make_run(outputs / "never_began", "interrupted", 0)
    make_run(outputs / "fresh", "completed", 10, ("last.pt", "best.pt"))
    old = make_run(outputs / "old", "completed", 10, ("last.pt", "best.pt"))
    only = make_run(outputs / "only_last", "completed", 10, ("last.pt",))
    for path in (old, only):
        os.utime(path / "status.json", (OLD, OLD))
    (outputs / "claimed_now").mkdir()
    (outputs / "claimed_long_ago").mkdir()
    (outputs / "claimed_long_ago" / ".lock").touch()
    os.utime(outputs / "claimed_long_ago", (OLD, OLD))
    (outputs / "cut_off" / ".config.yaml.77.tmp").touch()
    (outputs / "going" / ".status.json.78.tmp").touch()  # being written
    (outputs / ".removed-x").mkdir()
    assert found(outputs) == {
        "failed", "never_began", "claimed_long_ago", "old/checkpoints/last.pt",
        "cut_off/.config.yaml.77.tmp", ".removed-x",
    }  # fmt: skip
    assert found(outputs, "failed") == {"failed"}


def test_gc_says_how_much_and_deletes_on_demand_alone(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = make_run(outputs / "failed", "failed", 5, ("last.pt",))
    teacher = make_run(outputs / "teacher", "failed")
    make_run(outputs / "student", "completed", config=f"teacher: {teacher}\n")
    size = size_of(failed)
    with pytest.raises(UserError, match="nobody there to ask; --yes"):
        gc([])
    assert gc(["--dry-run"]) == 0 and failed.is_dir()
    capsys.readouterr()
    assert gc(["--yes"]) == 0
    told = capsys.readouterr()
    assert not failed.exists() and teacher.is_dir()
    assert f"deleted 1, {sized(size)} freed" in told.out
    assert "teacher is kept: the config of student names it" in told.err
    assert gc(["--yes"]) == 0
    assert "nothing to delete below outputs" in capsys.readouterr().out
    with pytest.raises(UserError, match="fail: no such kind"):
        gc(["fail"])


def test_the_question_is_answered(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_run(outputs / "one", "completed")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, there in (("", True), ("no", True), ("y", False)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert rm(["one"]) == 0
        assert path.exists() is there


def test_rm_never_deletes_what_is_trained_and_says_who_names_it(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = make_run(outputs / "d" / "teacher", "completed")
    checkpoint = teacher / "checkpoints" / "best.pt"
    make_run(outputs / "d" / "student", "completed", config=f"init: {checkpoint}\n")
    make_run(outputs / "d" / "going", "running")
    with pytest.raises(UserError, match="going: being trained right now; nothing was deleted"):
        rm(["going", "student", "--yes"])
    with open(teacher / ".lock", "w") as held:  # status.json may lag behind: the lock decides
        fcntl.flock(held, fcntl.LOCK_EX)
        assert rm(["teacher", "--yes"]) == 1
    assert "another process is training this run" in capsys.readouterr().err
    assert teacher.is_dir()
    assert rm(["teacher", "--yes"]) == 0
    assert "teacher is named by the config of student" in capsys.readouterr().err
    assert not teacher.exists()
    assert [run.name for run in records(outputs)[0]] == ["student", "going"]


def test_users_are_those_who_name_the_run_and_not_those_of_a_like_name(outputs: Path) -> None:
    one = make_run(outputs / "run1", "completed")
    make_run(outputs / "run10", "completed", config=f"teacher: {outputs / 'run10x'}\n")
    make_run(outputs / "by_name", "completed", config="teacher: run1\n")
    make_run(outputs / "by_file", "completed", config=f"init: {json.dumps(str(one / 'c.pt'))}\n")
    runs, _ = records(outputs)
    (record,) = [run for run in runs if run.name == "run1"]
    assert {user.name for user in users_of(record, runs)} == {"by_name", "by_file"}


def test_sizes_for_people() -> None:
    assert [sized(n) for n in (0, 999, 1000, 2_400_000, 3.2e9, 5e15)] == [
        "0 B", "999 B", "1.0 kB", "2.4 MB", "3.2 GB", "5000.0 TB",
    ]  # fmt: skip
