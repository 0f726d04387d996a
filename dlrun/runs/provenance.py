"""Where a run's numbers come from: code, versions, machine, data."""

import inspect
import os
import platform
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dlrun import __version__
from dlrun.errors import UserError
from dlrun.files import read_json, write_json
from dlrun.registry import lookup
from dlrun.runs.folder import RunFolder

_PACKAGES = ("torch", "torchvision", "hydra-core", "omegaconf", "numpy", "pillow", "tensorboard")
_LARGEST_DIFF = 200_000  # characters
CGROUP = Path("/sys/fs/cgroup")
"""What a Linux container may use."""


def record(
    folder: RunFolder,
    hardware: str,
    data: dict[str, Any],
    length: dict[str, int],
    plain: dict[str, Any],
    run: str | None = None,
) -> str:
    """Writes provenance.json, or where the run is resumed adds to it what has changed.

    Args:
        folder: the run's.
        hardware: in a line.
        data: what is to be the same when it is resumed.
        length: its optimizer steps: `total`, and those of an `epoch`.
        plain: the config.
        run: which run the checkpoint that it is resumed from is of; None where it has none.

    Returns:
        Which run this is: the name that its folder began with, and digits that no other run has.
    """
    now = {
        "dlrun": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": processor(),
        "hardware": hardware,
        "data": data,
        "length": length,
        "git": _git(Path.cwd()),
        "own_code": _own_code(plain),
    }
    before = folder.read_provenance() if run else {}
    if run is None:  # it starts, or starts anew
        run = _identity(folder) or f"{folder.name}#{secrets.token_hex(4)}"
        write_json(folder.provenance, {"run": run, "working_folder": os.getcwd()} | now)
        return run
    changed = {key: value for key, value in now.items() if before.get(key) != value}
    if not before:
        write_json(folder.provenance, {"run": run} | now)
    elif changed:
        write_json(folder.provenance, before | {"resumed": [*before.get("resumed", []), changed]})
    return run


def _identity(folder: RunFolder) -> str | None:
    """Of a run without a checkpoint, whose provenance.json may be as damaged as it likes."""
    found = read_json(folder.provenance).get("run")
    return found if isinstance(found, str) else None


@cache
def brief() -> dict[str, str | None]:
    """What a checkpoint says of where it comes from: versions, the command, the user's commit."""
    git = _git(Path.cwd())
    return {
        "dlrun": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "torchvision")},
        "command": shlex.join(command_line()),
        "commit": git["commit"] if git else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def cores() -> int:
    """Processor cores that this process may use, by its affinity and its container."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
        return min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # no such file, or no limit ("max")
        return count


def _git(folder: Path) -> dict[str, str] | None:
    """Commit and uncommitted changes of the user's project; None where there is no git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, timeout=10, check=False,
                encoding="utf-8", errors="replace",
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit.strip(), "diff": (git("diff", "HEAD") or "")[:_LARGEST_DIFF]}


def _own_code(plain: dict[str, Any]) -> dict[str, str]:
    """The source of the user's own classes: `module:Class` to the text of its file."""
    found = {}
    for group, section in plain.items():
        name = section.get("name", "") if isinstance(section, dict) else ""
        if ":" in name:
            try:
                file = inspect.getsourcefile(lookup(group, name))
                found[name] = Path(file).read_text(encoding="utf-8") if file else ""
            except (OSError, TypeError, UserError):
                found[name] = ""
    return found


def change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How the data that a run records has changed, for people; '' where it is the same."""
    found = [
        f"{key}: {_few(before[key])} -> {_few(now[key])}"
        for key in ("classes", "columns", "images")
        if before.get(key) and key in now and before[key] != now[key]
    ]
    if not found and before.get("checksum") != now.get("checksum"):
        found = ["other images or labels"]
    return "; ".join(found)


def _few(facts: Sequence[str] | Mapping[str, Any]) -> str:
    shown = [f"{facts[key]} {key}" for key in facts] if isinstance(facts, Mapping) else [*facts]
    return ", ".join(shown[:5]) + (" ..." if len(shown) > 5 else "")


def command_line() -> list[str]:
    """What was typed, with the program's short name."""
    verb = ["train"] if sys.argv[0] == "dlrun train" else []  # as a sweep gives them to Hydra
    return ["dlrun", *verb, *sys.argv[1:]]
