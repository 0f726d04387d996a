"""What rm and gc delete, and what they never do."""

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest
import run_folders

from dlrun.commands.gc import run as gc
from dlrun.commands.rm import run as rm
from dlrun.errors import UserError
from dlrun.runs.removal import KINDS, Item, garbage, users_of
from dlrun.runs.run import runs_below
from dlrun.text import readable_size

OLD = time.time() - 40 * 86_400


@pytest.fixture
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLRUN_DATA", str(tmp_path / "cache"))
    return tmp_path / "outputs"


def make_run(
    path: Path, state: str, step: int = 5, checkpoints: tuple[str, ...] = (), **config: Any
) -> Path:
    steps = (step,) if step else ()
    return run_folders.make_run(
        path, None, state=state, steps=steps, total=10, checkpoints=checkpoints, config=config
    )


def found(outputs: Path, *kinds: str) -> set[str]:
    items, _ = garbage(outputs, runs_below(outputs), kinds or KINDS, 30)
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
    make_run(outputs / "student", "completed", teacher=str(teacher))
    size = Item(failed, "run").size
    with pytest.raises(UserError, match="nobody is there to ask; --yes"):
        gc([])
    assert gc(["--dry-run"]) == 0 and failed.is_dir()
    capsys.readouterr()
    assert gc(["--yes"]) == 0
    told = capsys.readouterr()
    assert not failed.exists() and teacher.is_dir()
    assert f"deleted 1, {readable_size(size)} freed" in told.out
    assert "teacher is kept: the config of student names it" in told.err
    assert gc(["--yes"]) == 0
    assert "nothing to delete below outputs" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"KIND: got fail\. Did you mean failed"):
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
    make_run(outputs / "d" / "student", "completed", init=str(checkpoint))
    make_run(outputs / "d" / "going", "running")
    with pytest.raises(UserError, match="going: being trained right now; nothing was deleted"):
        rm(["going", "student", "--yes"])
    with open(teacher / ".lock", "w") as held:  # status.json may lag behind: the lock decides
        fcntl.flock(held, fcntl.LOCK_EX)
        assert rm(["teacher", "--yes"]) == 1
    assert "another process is training this run" in capsys.readouterr().err
    assert teacher.is_dir()
    assert rm(["teacher", "--yes"]) == 0
    assert "teacher is named in the config of student" in capsys.readouterr().err
    assert not teacher.exists()
    assert [run.name for run in runs_below(outputs)] == ["student", "going"]


def test_users_are_those_who_name_the_run_and_not_those_of_a_like_name(outputs: Path) -> None:
    one = make_run(outputs / "run1", "completed")
    make_run(outputs / "run10", "completed", teacher=str(outputs / "run10x"))
    make_run(outputs / "by_name", "completed", teacher="run1")
    make_run(outputs / "by_file", "completed", init=str(one / "c.pt"))
    runs = runs_below(outputs)
    (run,) = [run for run in runs if run.name == "run1"]
    assert {user.name for user in users_of(run, runs)} == {"by_name", "by_file"}


# --- jobs that sweeps share by links --------------------------------------------------------------


@pytest.fixture
def shared(outputs: Path) -> Path:
    """Sweep a has job0; sweep b has a link to it, and job1."""
    make_run(outputs / "sweeps" / "a" / "job0", "completed")
    make_run(outputs / "sweeps" / "b" / "job1", "completed")
    (outputs / "sweeps" / "b" / "job0").symlink_to(Path("..") / "a" / "job0")
    return outputs / "sweeps"


def test_rm_of_a_shared_run_says_which_sweep_loses_it_and_leaves_no_dead_link(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rm(["a", "--dry-run"]) == 0
    told = capsys.readouterr()
    assert told.err == "dlrun: job0 is also a job of b, which will lose it\n"
    assert told.out.splitlines()[0].endswith("completed run: outputs/sweeps/a/job0")
    assert (shared / "b" / "job0").exists()
    assert rm(["a", "--yes"]) == 0
    assert not os.path.lexists(shared / "b" / "job0")
    assert [run.name for run in runs_below(shared)] == ["job1"]


@pytest.mark.parametrize("word", ["b", "outputs/sweeps/b", "outputs/sweeps/b/job0"])
def test_rm_of_the_sweep_that_has_the_link_deletes_the_link(
    shared: Path, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rm([word, "--yes"]) == 0
    told = capsys.readouterr()
    assert "link to outputs/sweeps/a/job0, which is kept: outputs/sweeps/b/job0" in told.out
    assert told.err == ""
    assert (shared / "a" / "job0" / "config.yaml").exists()
    assert not os.path.lexists(shared / "b" / "job0")
    assert (shared / "b" / "job1").exists() is word.endswith("job0")


def test_rm_of_everything_needs_no_word_about_links(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rm(["outputs/../outputs", "--yes"]) == 0
    assert capsys.readouterr().err == ""
    assert [path.name for path in shared.rglob("job*")] == []


def test_gc_deletes_a_failed_run_with_its_links_and_links_that_lead_nowhere(shared: Path) -> None:
    run_folders.change_json(shared / "a" / "job0" / "status.json", state="failed")
    (shared / "b" / "gone").symlink_to(Path("..") / "a" / "gone")
    assert found(shared.parent) == {"sweeps/a/job0", "sweeps/b/gone"}
    assert gc(["--yes"]) == 0
    assert [path.name for path in (shared / "b").iterdir()] == ["job1"]


def test_sizes_for_people() -> None:
    assert [readable_size(n) for n in (0, 999, 1000, 2_400_000, 3.2e9, 5e15)] == [
        "0 B", "999 B", "1.0 kB", "2.4 MB", "3.2 GB", "5000.0 TB",
    ]  # fmt: skip
