"""Checkpoints: plain data and tensors, written whole or not at all, read without running code."""

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from dlrun.errors import UserError

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Replaces `path`: a kill at any moment leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint, onto `device`.

    Raises:
        UserError: it is not there, is damaged, carries code, or is of a later format.
    """
    content = _read(path, device)
    if "format" not in content:
        raise UserError(f"{path}: not a checkpoint of dlrun")
    if content["format"] > FORMAT:
        raise UserError(
            f"{path}: has format {content['format']}, this dlrun reads up to {FORMAT}; update dlrun"
        )
    return content


def _read(path: Path, device: torch.device | str) -> dict[str, Any]:
    if not path.exists():
        raise UserError(f"{path}: no checkpoint there")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: refused, it holds more than plain data and tensors") from error
    except (RuntimeError, EOFError, zipfile.BadZipFile, ValueError, OSError, KeyError) as error:
        raise UserError(f"{path}: damaged or no checkpoint ({_first_line(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint of dlrun")
    return content


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a checkpoint of dlrun, and not a file of something else.

    Raises:
        UserError: it cannot be read.
    """
    return "format" in _read(path, "cpu")


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A plain state dict, such as torchvision's own.

    Raises:
        UserError: it is none.
    """
    content = _read(path, "cpu")
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not content or len(tensors) != len(content):
        raise UserError(f"{path}: neither a checkpoint of dlrun nor a plain state dict")
    return tensors


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
