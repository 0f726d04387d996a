"""Checkpoints: plain data and tensors, written whole or not at all, read without running code."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from dlrun.config.signature import computes, is_place
from dlrun.errors import UserError
from dlrun.files import atomic, open_regular
from dlrun.runs.folder import RunFolder
from dlrun.text import flatten

FORMAT = 1
"""Raise it when the content of a checkpoint changes; a later format is refused."""
_NESTED = ("state_dict", "model_state_dict", "model")  # of Lightning and MoCo, tutorials, DeiT
_WRAPPERS = ("module.", "_orig_mod.", "model.")  # of DistributedDataParallel, compile, Lightning
_ARCHIVE = b"PK\x03\x04"
_UNSUPPORTED = re.compile(r"GLOBAL ([\w.]+)|(?:class|function) (\w+\.[\w.]+)")


def save(path: Path, content: dict[str, Any]) -> None:
    """Replaces `path`: a kill at any moment leaves the old file or the new one."""
    with atomic(path, durable=True) as temporary, open(temporary, "wb") as file:
        torch.save({**content, "format": FORMAT}, file)


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint, onto `device`.

    Raises:
        UserError: it is missing, damaged, contains code, or has a later format.
    """
    content = _read(path, device)
    if "format" not in content:
        raise UserError(f"{path}: not a checkpoint of dlrun")
    number = content["format"]
    if type(number) is not int or number < 1:
        raise UserError(f"{path}: not a checkpoint of dlrun, its format is {str(number)[:20]!r}")
    if number > FORMAT:
        raise UserError(
            f"{path}: has format {number}, this dlrun reads up to {FORMAT}; update dlrun"
        )
    return content


def load_own(folder: RunFolder, path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint in a run's folder, which must belong to that run.

    Raises:
        UserError: as `load`, or it belongs to another run.
    """
    content = load(path, device)
    there, here = content.get("config"), folder.read_config()
    if not isinstance(there, dict):
        raise UserError(f"{path}: no checkpoint of a run, it does not say its config")
    difference = _difference(there, here)
    if folder.identity() is None and content.get("run"):
        raise UserError(f"{folder.provenance}: missing; it says which run {path.name} has to be of")
    if not difference and content.get("run") != folder.identity():
        difference = f"of the same config: run {content.get('run')} there, {folder.identity()} here"
    if difference:
        raise UserError(
            f"{path}: is of another run than config.yaml in its folder ({difference}); "
            "put this run's own file there"
        )
    return content


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a checkpoint of dlrun, and not another file of torch.save.

    Raises:
        UserError: it cannot be read.
    """
    return "format" in _read(path, "cpu")


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """A plain state dict, such as torchvision's own; also within what other tools save.

    Raises:
        UserError: it is not one.
    """
    content = _read(path, "cpu")
    inner = [content[key] for key in _NESTED if isinstance(content.get(key), dict)]
    content = inner[0] if inner else content
    for prefix in _WRAPPERS:
        if content and all(str(name).startswith(prefix) for name in content):
            content = {str(name).removeprefix(prefix): item for name, item in content.items()}
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if not content or len(tensors) != len(content):
        raise UserError(f"{path}: neither a checkpoint of dlrun nor a plain state dict")
    return tensors


def _difference(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """The first difference in a key that changes what a run computes, wherever its data lie."""
    ours, theirs = flatten(here), flatten(there)
    first = ("method.name", "dataset.name", "model.name", "seed")
    for key in (*first, *ours):
        if computes(key) and not is_place(key) and ours.get(key) != theirs.get(key):
            return f"{key}={str(theirs.get(key))[:40]} there, {str(ours.get(key))[:40]} here"
    return None


def _read(path: Path, device: torch.device | str) -> dict[str, Any]:
    """What a file of torch.save holds, read without running code.

    Raises:
        UserError: it is missing, damaged, contains code, or is another kind of file; says which.
    """
    try:
        with open_regular(path) as file:
            _demand_sound(path, file)
            file.seek(0)
            with _reasons(path):
                content = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint there") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a checkpoint of dlrun")
    return content


def _demand_sound(path: Path, file: IO[bytes]) -> None:
    """The archive is as torch.save lays it out, and the checksum of each member is right.

    torch.save writes these checksums; torch.load does not look at them. Raises UserError.
    """
    if not (start := file.read(4)):
        raise UserError(f"{path}: damaged, it is empty")
    if start != _ARCHIVE:
        return  # an old state dict, or something else: torch.load says
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len({member.filename for member in members}) < len(members):
                raise UserError(f"{path}: refused, it has two members of one name")
            if any(member.filename.endswith("/constants.pkl") for member in members):
                raise UserError(f"{path}: refused, it carries code (TorchScript)")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise UserError(
                    f"{path}: refused, its members are compressed, which torch.save never does"
                )
            if sum(member.file_size for member in members) > file.seek(0, 2):
                raise UserError(f"{path}: refused, its members are larger than the file")
            bad = archive.testzip()
    except UserError:
        raise
    except Exception as error:  # zipfile fails in many ways on a damaged archive
        raise UserError(f"{path}: damaged or cut off ({_first_line(error)})") from error
    if bad is not None:
        raise UserError(f"{path}: damaged, the checksum of {bad} is wrong")


@contextmanager
def _reasons(path: Path) -> Iterator[None]:
    """Why torch cannot read the file, in one line."""
    try:
        with warnings.catch_warnings():  # torch's, of pickle protocols in what is refused anyway
            warnings.simplefilter("ignore", UserWarning)
            yield
    except pickle.UnpicklingError as error:
        found = _UNSUPPORTED.search(str(error))
        if found is None:
            raise UserError(f"{path}: damaged or no checkpoint") from error
        raise UserError(
            f"{path}: refused, it carries code ({found[1] or found[2]}) and not only plain data "
            "and tensors"
        ) from error
    except Exception as error:  # on arbitrary bytes torch fails in ways that nobody has listed
        if "TorchScript" in str(error):
            raise UserError(f"{path}: refused, it carries code (TorchScript)") from error
        raise UserError(f"{path}: damaged or no checkpoint ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]
