"""Two hundred damaged checkpoints: refused in one line that says why, or equal; none runs code."""

import builtins
import importlib
import io
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlrun.errors import UserError
from dlrun.runs import provenance
from dlrun.runs.folder import RunFolder
from dlrun.training import checkpoint
from dlrun.training.checkpoint import FORMAT

DATA: dict[str, Any] = {"checksum": "0"}
LENGTH = {"total": 3, "epoch": 3}


def content(**changed: Any) -> dict[str, Any]:
    plain = {"seed": 0, "method": {"name": "vae", "beta": 1.0}, "dataset": {"name": "x"}}
    weights = torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    return {"step": 3, "config": plain | changed, "method": {"w": weights}, "val": {"a": 0.5}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "last.pt"
    checkpoint.save(path, content())
    return path.read_bytes()


def refused(path: Path, pattern: str) -> str:
    """The one line, after the file's name."""
    with pytest.raises(UserError) as told:
        checkpoint.load(path)
    line = str(told.value)
    assert line.startswith(f"{path}: ") and "\n" not in line, line
    reason = line.removeprefix(f"{path}: ")
    assert re.search(pattern, reason), reason
    return reason


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


def refused_or_equal(path: Path) -> bool:
    """Whether it was refused; what is read otherwise is what was written."""
    try:
        loaded = checkpoint.load(path)
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
        return True
    assert same(loaded, {**content(), "format": FORMAT})
    return False


def members(data: bytes) -> list[range]:
    """Where the archive's members lie, without their headers and padding."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        found = []
        for member in archive.infolist():
            header = member.header_offset
            sizes = data[header + 26 : header + 28], data[header + 28 : header + 30]
            begin = header + 30 + sum(int.from_bytes(size, "little") for size in sizes)
            found.append(range(begin, begin + member.file_size))
    return found


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_in_what_it_holds(seed: int, whole: bytes, tmp_path: Path) -> None:
    draw, data = random.Random(seed), bytearray(whole)
    data[draw.choice(draw.choice(members(whole)))] ^= 1 << draw.randrange(8)
    (tmp_path / "last.pt").write_bytes(data)
    refused(tmp_path / "last.pt", "damaged")


@pytest.mark.parametrize("seed", range(60))
def test_a_flipped_bit_anywhere(seed: int, whole: bytes, tmp_path: Path) -> None:
    """In padding it means nothing, elsewhere it is refused."""
    draw, data = random.Random(seed), bytearray(whole)
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    (tmp_path / "last.pt").write_bytes(data)
    refused_or_equal(tmp_path / "last.pt")


def test_every_byte_of_the_directory(whole: bytes, tmp_path: Path) -> None:
    """Each byte behind the last member: the archive's own description of itself."""
    path, begin = tmp_path / "last.pt", max(member.stop for member in members(whole))
    for place in range(begin, len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x20
        path.write_bytes(data)
        refused_or_equal(path)


@pytest.mark.parametrize("seed", range(40))
def test_truncated(seed: int, whole: bytes, tmp_path: Path) -> None:
    cut = (0, 1, 3, 30, len(whole) - 1, len(whole) - 23)
    length = cut[seed] if seed < len(cut) else random.Random(seed).randrange(len(whole))
    (tmp_path / "last.pt").write_bytes(whole[:length])
    refused(tmp_path / "last.pt", r"damaged|cut off|no checkpoint")


class Payload:
    """Whatever unpickles it calls `function`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def payload(kind: int) -> Payload:
    """All write the file `executed` where the process stands."""
    code = "open('executed', 'w').close()"
    kinds: tuple[Callable[[], Payload], ...] = (
        lambda: Payload(os.system, "touch executed"),
        lambda: Payload(builtins.eval, code),
        lambda: Payload(builtins.exec, code),
        lambda: Payload(subprocess.Popen, ["touch", "executed"]),
        lambda: Payload(open, "executed", "w"),
        lambda: Payload(os.mkdir, "executed"),
        lambda: Payload(importlib.import_module, "antigravity_of_nobody"),
        lambda: Payload(os.rename, "last.pt", "executed"),
    )
    return kinds[kind % len(kinds)]()


@pytest.mark.parametrize("kind", range(24))
def test_code(kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bare, beside weights, or within an archive."""
    monkeypatch.chdir(tmp_path)
    path, evil = tmp_path / "last.pt", payload(kind)
    dressed = {**content(), "format": FORMAT, "method": {"w": torch.zeros(3), "x": evil}}
    if kind < 8:
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif kind < 16:
        torch.save(dressed, path)
    else:
        torch.save(dressed, path, _use_new_zipfile_serialization=False)
    name = evil.function.__name__  # its module is called as in Python 2, by the pickle protocol
    refused(path, rf"refused, it carries code \((\w+\.)?{name}\)")
    assert not (tmp_path / "executed").exists()


def test_torchscript_is_code(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    refused(path, r"refused, it carries code \(TorchScript\)")


def test_the_payloads_would_run(tmp_path: Path) -> None:
    """So that the test above says something."""
    (tmp_path / "p").write_bytes(pickle.dumps(payload(0), protocol=2))
    program = "import pickle; pickle.load(open('p', 'rb'))"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("seed", range(6))
def test_bombs(seed: int, tmp_path: Path) -> None:
    """A small archive that unpacks to gigabytes is refused before any of it is unpacked."""
    path, buffer = tmp_path / "last.pt", io.BytesIO()
    torch.save(content(), buffer)
    method = (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)[seed % 3]
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", method) as target:
        for member in source.namelist():
            target.writestr(member, source.read(member))
        if seed >= 3:
            target.writestr("archive/data/9", bytes(4_000_000))
    refused(path, "refused, its members are compressed")


@pytest.mark.parametrize("key", ["seed", "method", "dataset", "beta", "which"])
def test_another_runs_file_in_this_runs_folder(key: str, tmp_path: Path) -> None:
    other = {
        "seed": {"seed": 7},
        "method": {"method": {"name": "byol", "tau": 0.9}},
        "dataset": {"dataset": {"name": "mnist"}},
        "beta": {"method": {"name": "vae", "beta": 4.0}},
        "which": {"seed": 7},
    }[key]
    folders = [RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")]
    for folder, changed in zip(folders, ({}, other), strict=True):
        folder.prepare(content(**changed)["config"])
        checkpoint.save(folder.last, content(**changed))
    assert checkpoint.load_own(folders[1], folders[1].last)["step"] == 3
    folders[0].last.write_bytes(folders[1].last.read_bytes())
    with pytest.raises(UserError, match=r"than config\.yaml in its folder \(.* there, .* here"):
        checkpoint.load_own(folders[0], folders[0].last)


def a_run(path: Path) -> RunFolder:
    """Of one config, with what `dlrun train` writes of its identity."""
    folder, plain = RunFolder(path), content()["config"]
    folder.prepare(plain)
    run = provenance.record(folder, "cpu", DATA, LENGTH, plain)
    for file in (folder.last, folder.best):
        checkpoint.save(file, content() | {"run": run})
    return folder


def test_a_file_of_another_run_of_the_same_config(tmp_path: Path) -> None:
    one, other = a_run(tmp_path / "one"), a_run(tmp_path / "other")
    shutil.copy(other.best, one.best)
    with pytest.raises(UserError, match=r"best\.pt: is of another run .*run other#.* there, one#"):
        checkpoint.load_own(one, one.best)
    assert checkpoint.load_own(one, one.last)["run"] == one.identity()
    assert checkpoint.load(one.best)["run"] == other.identity()  # a file by itself is any run's


def test_a_run_is_known_wherever_it_lies(tmp_path: Path) -> None:
    one = a_run(tmp_path / "one")
    shutil.copytree(one.path, tmp_path / "copied")
    one.path.rename(tmp_path / "renamed")
    for name in ("copied", "renamed"):
        folder = RunFolder(tmp_path / name)
        run = checkpoint.load_own(folder, folder.best)["run"]
        assert run.startswith("one#")
        assert provenance.record(folder, "gpu", DATA, LENGTH, {}) == run == folder.identity()


@pytest.mark.parametrize("number", [FORMAT + 1, FORMAT + 100, 0, -1, "2", None, True])
def test_another_format(number: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({**content(), "format": number}, path)
    later = type(number) is int and number > FORMAT
    refused(path, "has format .*update" if later else "not a checkpoint of dlrun, its format is")


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_others_are_read_as_before(zipped: bool, tmp_path: Path) -> None:
    path, state = tmp_path / "resnet18.pth", {"conv1.weight": torch.randn(3, 4)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert not checkpoint.is_checkpoint(path)
    assert torch.equal(checkpoint.load_state_dict(path)["conv1.weight"], state["conv1.weight"])
