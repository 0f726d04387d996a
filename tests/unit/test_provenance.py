"""Where a run's numbers come from."""

import subprocess
from pathlib import Path

import pytest

from dlrun.runs.folder import RunFolder
from dlrun.runs.provenance import _git


def test_changes_that_are_no_utf8_are_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b.c")
    notes = tmp_path / "notes"
    notes.write_bytes(b"cafe\n")
    for command in ("init -q", "add notes", "commit -qm first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    notes.write_bytes(b"caf\xe9 \xe2\x86\x91\n")
    found = _git(tmp_path)
    assert found is not None and "+caf\N{REPLACEMENT CHARACTER} ↑" in found["diff"]


def test_a_command_is_kept_byte_by_byte(tmp_path: Path) -> None:
    RunFolder(tmp_path).add_command(["dlrun", "train", "dataset.root=caf\udce9"])
    assert (tmp_path / "command.txt").read_bytes().endswith(b"dataset.root=caf\xe9'\n")
