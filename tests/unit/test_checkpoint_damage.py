"""Two hundred damaged checkpoints: each is refused in one line that says why, and runs nothing."""

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
from dlrun.runs.files import write_json
from dlrun.runs.folder import RunFolder
from dlrun.training import checkpoint, sealed
from dlrun.training.migrations import FORMAT

OLD = Path(__file__).parents[1] / "data" / "checkpoints"
TRUNCATED = r"damaged|cut off|no checkpoint"


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


@pytest.mark.parametrize("seed", range(70))
def test_a_flipped_bit(seed: int, whole: bytes, tmp_path: Path) -> None:
    """Anywhere: in tensors, headers, padding, or in the seal itself."""
    draw = random.Random(seed)
    data = bytearray(whole)
    # Every tenth in the last hundred bytes, where the seal is.
    start = len(data) - 100 if seed % 10 == 0 else 0
    data[draw.randrange(start, len(data))] ^= 1 << draw.randrange(8)
    (tmp_path / "last.pt").write_bytes(data)
    refused(tmp_path / "last.pt", "damaged")


@pytest.mark.parametrize("seed", range(60))
def test_truncated(seed: int, whole: bytes, tmp_path: Path) -> None:
    old = (OLD / "format1.pt").read_bytes()
    data = whole if seed % 2 else old
    cut = (0, 1, 3, 30, len(data) - 1, len(data) - 23)
    length = cut[seed // 2] if seed < 12 else random.Random(seed).randrange(len(data))
    (tmp_path / "last.pt").write_bytes(data[:length])
    refused(tmp_path / "last.pt", TRUNCATED)


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_in_the_members_of_an_older_file(seed: int, tmp_path: Path) -> None:
    """Without a seal the archive's own checksums guard what it holds."""
    data = bytearray((OLD / "format1.pt").read_bytes())
    with zipfile.ZipFile(OLD / "format1.pt") as archive:
        members = [member for member in archive.infolist() if member.file_size > 8]
    draw = random.Random(seed)
    member = draw.choice(members)
    header = member.header_offset
    names = int.from_bytes(data[header + 26 : header + 28], "little")
    extra = int.from_bytes(data[header + 28 : header + 30], "little")
    begin = header + 30 + names + extra
    data[draw.randrange(begin, begin + member.file_size)] ^= 1 << draw.randrange(8)
    (tmp_path / "last.pt").write_bytes(data)
    refused(tmp_path / "last.pt", "damaged")


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


@pytest.mark.parametrize("kind", range(32))
def test_code(kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bare, beside weights, within an archive, or sealed as one of ours."""
    monkeypatch.chdir(tmp_path)
    path, evil = tmp_path / "last.pt", payload(kind)
    dressed = {**content(), "format": FORMAT, "method": {"w": torch.zeros(3), "x": evil}}
    if kind < 8:
        path.write_bytes(pickle.dumps(evil, protocol=2))
    elif kind < 16:
        torch.save(dressed, path)
    elif kind < 24:
        torch.save(dressed, path, _use_new_zipfile_serialization=False)
    else:
        with open(path, "wb") as file:
            sealed.write_sealed(dressed, file)
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
    with pytest.raises(UserError, match=r"is of another run than its folder \(.* there, .* here"):
        checkpoint.load_own(folders[0], folders[0].last)


def a_run(path: Path) -> RunFolder:
    """Of one config, with what `dlrun train` writes of its identity."""
    folder, plain = RunFolder(path), content()["config"]
    folder.prepare(plain)
    run = provenance.record(folder, "cpu", "0", plain)
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
        assert provenance.record(folder, "gpu", "0", {}) == run == folder.identity()


@pytest.mark.parametrize("lost", ["in the file", "in the folder"])
def test_runs_of_an_older_dlrun_are_read_and_go_on(lost: str, tmp_path: Path) -> None:
    """They do not say which run they are of; the first resume settles it."""
    folder = a_run(tmp_path / "one")
    was = folder.identity()
    if lost == "in the file":
        checkpoint.save(folder.best, content())
    else:
        write_json(folder.provenance, {"dlrun": "0.1"})
    found = checkpoint.load_own(folder, folder.best).get("run")
    assert found == (None if lost == "in the file" else was)
    assert provenance.record(folder, "cpu", "0", {}, found) == was == folder.identity()
    checkpoint.load_own(folder, folder.last)


@pytest.mark.parametrize("number", [FORMAT + 1, FORMAT + 100, 0, -1, "2", None, True])
def test_another_format(number: Any, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with open(path, "wb") as file:
        sealed.write_sealed({**content(), "format": number}, file)
    later = type(number) is int and number > FORMAT
    refused(path, "has format .*update" if later else "not a checkpoint of dlrun, its format is")


def test_a_new_checkpoint_without_its_seal(tmp_path: Path) -> None:
    torch.save({**content(), "format": FORMAT}, tmp_path / "last.pt")
    refused(tmp_path / "last.pt", "damaged, the seal at its end is broken")


def test_every_bit_of_the_seal_counts(whole: bytes, tmp_path: Path) -> None:
    """And of the end of the archive in front of it: all single flips of the last 110 bytes."""
    path = tmp_path / "last.pt"
    for place in range(len(whole) - 110, len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x20  # of a letter, the other case
        path.write_bytes(data)
        refused(path, "damaged")


@pytest.mark.parametrize("name", sorted(path.name for path in OLD.glob("*.pt")))
def test_each_older_format_is_migrated(name: str) -> None:
    """The files were written by the code of their time."""
    loaded = checkpoint.load(OLD / name)
    written = torch.load(OLD / name, weights_only=True)
    assert loaded["format"] == FORMAT > written["format"] == int(name[6])
    assert loaded["provenance"] == {"dlrun": written["dlrun"]}
    assert loaded["val"].keys() >= {"accuracy"} and loaded["step"] == 2
    for key, tensor in written["method"].items():
        assert torch.equal(loaded["method"][key], tensor)


def test_an_example_of_each_older_format_is_kept() -> None:
    assert {path.name for path in OLD.glob("*.pt")} == {f"format{n}.pt" for n in range(1, FORMAT)}


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_of_others_are_read_as_before(zipped: bool, tmp_path: Path) -> None:
    path, state = tmp_path / "resnet18.pth", {"conv1.weight": torch.randn(3, 4)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    assert not checkpoint.is_checkpoint(path)
    assert torch.equal(checkpoint.load_state_dict(path)["conv1.weight"], state["conv1.weight"])


def test_a_sealed_file_is_still_one_of_torch(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "last.pt").write_bytes(whole)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 3
