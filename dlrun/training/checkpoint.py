"""Checkpoints: plain data and tensors, written whole or not at all, read without running code."""

import os
from pathlib import Path
from typing import Any

import torch

from dlrun.config.signature import computes
from dlrun.config.typed import flatten
from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.training.migrations import FORMAT, migrated
from dlrun.training.sealed import read, write_sealed

_SEALED_SINCE = 2


def save(path: Path, content: dict[str, Any]) -> None:
    """Replaces `path`: a kill at any moment leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write_sealed({**content, "format": FORMAT}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint, onto `device`; one of an older format as this one has it.

    Raises:
        UserError: it is not there, is damaged, carries code, or is of a later format.
    """
    content, sealed = _read(path, device)
    if "format" not in content:
        raise UserError(f"{path}: not a checkpoint of dlrun")
    number = content["format"]
    if type(number) is not int or number < 1:
        raise UserError(f"{path}: not a checkpoint of dlrun, its format is {str(number)[:20]!r}")
    if number > FORMAT:
        raise UserError(
            f"{path}: has format {number}, this dlrun reads up to {FORMAT}; update dlrun"
        )
    if number >= _SEALED_SINCE and not sealed:
        raise UserError(f"{path}: damaged, the seal at its end is broken")
    return migrated(content)


def load_own(folder: RunFolder, path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint in a run's folder, which must be that run's.

    Raises:
        UserError: as `load`, or it is of another run.
    """
    content = load(path, device)
    there, here = content.get("config"), folder.read_config()
    if not isinstance(there, dict):
        raise UserError(f"{path}: no checkpoint of a run, it does not say its config")
    difference = _difference(there, here) or _another(content.get("run"), folder.identity())
    if difference:
        raise UserError(
            f"{path}: is of another run than its folder ({difference}); put this run's own file "
            "there"
        )
    return content


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a checkpoint of dlrun, and not a file of something else.

    Raises:
        UserError: it cannot be read.
    """
    return "format" in _read(path, "cpu")[0]


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A plain state dict, such as torchvision's own.

    Raises:
        UserError: it is none.
    """
    content = _read(path, "cpu")[0]
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not content or len(tensors) != len(content):
        raise UserError(f"{path}: neither a checkpoint of dlrun nor a plain state dict")
    return tensors


def _read(path: Path, device: torch.device | str) -> tuple[dict[str, Any], bool]:
    content, sealed = read(path, device)
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint of dlrun")
    return content, sealed


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """The first value that differs. Keys that only one has are of another version of dlrun."""
    ours, theirs = flatten(here), flatten(there)
    first = ("method.name", "dataset.name", "model.name", "seed")
    for key in (*first, *ours):
        known = key in ours and key in theirs and computes(key)
        if known and ours[key] != theirs[key]:
            return f"{key}={str(theirs[key])[:40]} there, {str(ours[key])[:40]} here"
    return None


def _another(there: str | None, here: str | None) -> str | None:
    """Two runs of one config. Older files and folders do not say which run they are of."""
    if None in (there, here) or there == here:
        return None
    return f"of the same config: run {there} there, {here} here"


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
