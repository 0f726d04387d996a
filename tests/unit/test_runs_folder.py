"""The run folder: claimed by one, locked while in use, never half written."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from run_folders import make_run

from dlrun.errors import UserError
from dlrun.files import (
    atomic,
    exclusive,
    os_error_line,
    output_file,
    peek_json,
    read_json,
    write_json,
)
from dlrun.runs import status
from dlrun.runs.folder import RunFolder, claim
from dlrun.runs.removal import selected_items
from dlrun.runs.run import Run
from dlrun.runs.select import Selection
from dlrun.runs.status import StatusWriter


def claim_many(outputs: str, count: int) -> list[str]:
    return [str(claim(Path(outputs), "data", "method", None).path) for _ in range(count)]


def test_runs_of_the_same_millisecond_never_share_a_folder(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        claimed = pool.starmap(claim_many, [(str(tmp_path), 50)] * 8)
    paths = [path for part in claimed for path in part]
    assert len(set(paths)) == 400
    assert all(Path(path).is_dir() for path in paths)


def test_claim_tries_again_when_the_name_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = iter("aaaa" + "aaaa" + "bbbb")
    monkeypatch.setattr("dlrun.runs.folder.secrets.choice", lambda _: next(letters))
    first, second = (claim(tmp_path, "d", "m", "mine") for _ in range(2))
    assert first.name.endswith("-aaaa-mine")
    assert second.name.endswith("-bbbb-mine") or second.name[:13] != first.name[:13]


def test_claim_says_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="outputs: cannot write below"):
        claim(tmp_path / "file", "d", "m", None)


def test_config_is_written_once_and_read_back(tmp_path: Path) -> None:
    folder = claim(tmp_path, "d", "m", None)
    plain = {"seed": 3, "name": None, "lr": 1e-05, "betas": [0.5, 0.999], "method": {"name": "vae"}}
    folder.prepare(plain)
    folder.prepare({"seed": 4})
    assert folder.read_config() == plain


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "just text"])
def test_a_damaged_config_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as told:
        RunFolder(tmp_path).read_config()
    assert "config.yaml" in str(told.value) and "\n" not in str(told.value)


def test_the_lock_is_held_by_one_process_and_dies_with_it(tmp_path: Path) -> None:
    folder = claim(tmp_path, "d", "m", None)
    code = (
        "import sys, time; from pathlib import Path; from dlrun.runs.folder import RunFolder\n"
        f"run = RunFolder(Path({str(folder.path)!r})); run.lock()\n"
        "print('locked', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "locked\n"
        assert folder.in_use()
        with pytest.raises(UserError, match="another process is training this run"):
            folder.lock()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not folder.in_use()
    folder.lock()
    assert folder.in_use()
    folder.unlock()
    assert not folder.in_use()


def test_a_run_that_was_killed_here_is_not_called_running(tmp_path: Path) -> None:
    folder = claim(tmp_path, "d", "m", None)
    folder.lock()
    StatusWriter(folder, total=10, step=4)
    assert Run(folder.path).state == "running"
    folder.unlock()  # as the kernel does for a process that dies
    assert (Run(folder.path).state, Run(folder.path).reason) == ("interrupted", "killed")


@pytest.mark.parametrize(
    ("seconds", "state"), [(0, "running"), (-120, "running"), (200, "running"), (400, "lost")]
)
def test_a_run_of_another_machine_is_lost_when_its_heartbeat_is_old(
    tmp_path: Path, seconds: int, state: str
) -> None:
    """The lock of another machine is not seen, and its clock may be minutes off."""
    run = Run(make_run(tmp_path / "one", state="running"))
    heartbeat = {"host": "boxA", "heartbeat": time.time() - seconds}
    write_json(run.folder.status, read_json(run.folder.status) | heartbeat)
    assert run.state == state
    assert run.can_resume == (state == "lost")
    assert ("no sign of life from boxA since" in run.reason) == (state == "lost")
    if state == "lost":
        assert selected_items(Selection([run], [run.path], []), [run])[0][0].kind == "lost run"
    else:
        with pytest.raises(UserError, match="being trained right now"):
            selected_items(Selection([run], [run.path], []), [run])


def test_status_says_how_a_run_ended(tmp_path: Path) -> None:
    folder = claim(tmp_path, "d", "m", None)
    StatusWriter(folder, total=10, step=0).end("failed", "out of memory")
    assert (Run(folder.path).state, Run(folder.path).reason) == ("failed", "out of memory")


def test_the_heart_beats_however_long_a_step_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_BEAT", 0.01)
    folder = claim(tmp_path, "d", "m", None)
    with StatusWriter(folder, total=10, step=0) as writer:
        began = read_json(folder.status)["heartbeat"]
        writer.status.step = 6
        deadline = time.monotonic() + 5
        while read_json(folder.status)["step"] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        found = read_json(folder.status)
        assert found["step"] == 6 and found["heartbeat"] > began
    ended = read_json(folder.status)
    time.sleep(0.05)
    assert read_json(folder.status) == ended


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    write_json(path, {"n": 0})
    child = os.fork()
    if child == 0:
        for n in range(400):
            write_json(path, {"n": n, "padding": "x" * 5000})
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        assert "n" in json.loads(path.read_text())


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    folder = claim(tmp_path, "d", "m", None)
    folder.prepare({"seed": 0})
    (folder.last.parent / ".last.pt.123.tmp").write_text("half")
    folder.prepare({"seed": 0})
    assert list(folder.last.parent.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_of_the_file_system_a_file_is_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """As on Lustre and some NFS; what a killed process leaves there locks nobody out."""

    def no_locks(*given: object) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr("fcntl.flock", no_locks)
    monkeypatch.setattr("dlrun.files._known", {})
    first, second = (RunFolder(tmp_path) for _ in range(2))
    first.lock()
    assert second.in_use()
    with pytest.raises(UserError, match="another process is training this run"):
        second.lock()
    first.unlock()
    assert not second.in_use()
    with exclusive(tmp_path / ".lock"):
        pass
    assert caplog.text.count("this file system has no locks") == 1
    holder = (
        "import os; from pathlib import Path; from dlrun.runs.folder import RunFolder\n"
        f"import fcntl, errno\ndef no(*given): raise OSError({code}, 'no')\nfcntl.flock = no\n"
        f"run = RunFolder(Path({str(tmp_path)!r})); run.lock(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", holder], check=False, capture_output=True)
    assert (tmp_path / ".lock.held").exists()
    (tmp_path / ".lock").touch()  # of another day, when there were locks
    first.lock()


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_an_error_of_a_write_names_the_file(tmp_path: Path, error: type[Exception]) -> None:
    """torch.save hides the OSError behind a RuntimeError."""
    with pytest.raises(OSError) as told, atomic(tmp_path / "last.pt") as temporary:
        temporary.write_text("half")
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            if error is OSError:
                raise
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904
    assert os_error_line(told.value) == f"{tmp_path}/last.pt: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_what_is_read_meanwhile_is_not_that_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent"), output_file(tmp_path / "out.csv"):
        (tmp_path / "absent").read_text()


def test_the_end_of_a_job_on_a_full_disk_is_that_of_a_killed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = claim(tmp_path, "d", "m", None)
    folder.lock()
    StatusWriter(folder, total=10, step=4)
    folder.unlock()
    monkeypatch.setattr("dlrun.runs.status.write_json", full)
    status.note_end(folder, "failed", "exited with code 1")
    assert Run(folder.path).state == "interrupted"
    shutil.rmtree(folder.path)
    status.note_end(folder, "failed", "exited with code 1")


def test_what_cannot_be_read_is_not_taken_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "damaged.json").write_text("{")
    for name in ("none.json", "damaged.json", "damaged.json/none"):
        assert read_json(tmp_path / name) == {}
    with pytest.raises(OSError, match=r"folder\.json"):
        read_json(tmp_path / "folder.json")
    assert peek_json(tmp_path / "folder.json") == {}
