"""Checkpoints are written whole or not at all, and read without running code."""

import os
import pickle
import signal
import time
from pathlib import Path

import pytest
import torch

from dlrun.errors import UserError
from dlrun.training import checkpoint


def test_round_trip(tmp_path: Path) -> None:
    content = {"step": 3, "method": {"w": torch.randn(2)}, "config": {"lr": 0.1}, "none": None}
    checkpoint.save(tmp_path / "last.pt", content)
    loaded = checkpoint.load(tmp_path / "last.pt")
    assert torch.equal(loaded.pop("method")["w"], content.pop("method")["w"])
    assert loaded == {"format": checkpoint.FORMAT, **content}


def test_a_kill_while_saving_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": -1, "w": torch.zeros(200_000)})
    for delay in (0.01, 0.03, 0.05, 0.08, 0.1):
        child = os.fork()
        if child == 0:
            step = 0
            while True:
                checkpoint.save(path, {"step": step, "w": torch.full((200_000,), float(step))})
                step += 1
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        loaded = checkpoint.load(path)
        assert bool((loaded["w"] == max(loaded["step"], 0)).all())


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "empty", "text", "code", "later", "other"]
)
def test_a_bad_checkpoint_is_refused_in_one_line(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1, "w": torch.randn(1000)})
    whole = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        path.write_bytes(b"\x00" * 40 + whole[40:])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("hello")
    elif damage == "code":
        path.write_bytes(pickle.dumps(Evil()))
    elif damage == "later":
        torch.save({"format": checkpoint.FORMAT + 1}, path)
    else:
        torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError) as told:
        checkpoint.load(path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)
    assert not Path("executed").exists()


def test_no_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint there"):
        checkpoint.load(tmp_path / "last.pt")
