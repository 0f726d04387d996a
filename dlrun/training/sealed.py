"""Files of torch.save with a seal: a sha256 of every byte, so that no flipped bit goes unnoticed.

The seal is the comment of the zip archive that torch.save writes, so a sealed file is still one
that torch.load reads. The archive's own checksums would leave its headers and padding unguarded,
and torch does not look at them.
"""

import hashlib
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from dlrun.errors import UserError

_MARK = b"dlrun sha256 "
_HEX = 64
_COMMENT = len(_MARK) + _HEX
_LENGTH = _COMMENT.to_bytes(2, "little")  # ends the archive, in front of its comment
_TAIL = len(_LENGTH) + _COMMENT
_CHUNK = 1 << 20
_UNSUPPORTED = re.compile(r"GLOBAL ([\w.]+)|(?:class|function) (\w+\.[\w.]+)")


class _Hashed:
    """A file that is hashed while it is written, but for the two bytes that come last."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest, self.held = file, hashlib.sha256(), b""

    def write(self, data: bytes) -> int:
        keep = len(self.held) + len(data) - len(_LENGTH)
        if keep >= len(self.held):
            self._pass(self.held)
            view = memoryview(data)
            self._pass(view[: keep - len(self.held)])
            self.held = bytes(view[keep - len(self.held) :])
        else:
            both = self.held + bytes(data)
            self._pass(both[: max(keep, 0)])
            self.held = both[max(keep, 0) :]
        return len(data)

    def _pass(self, data: bytes | memoryview) -> None:
        self.digest.update(data)
        self.file.write(data)

    def flush(self) -> None:
        """Nothing: the file is flushed by whoever opened it."""


def write_sealed(content: dict[str, Any], file: IO[bytes]) -> None:
    """torch.save, and the seal behind it."""
    hashed = _Hashed(file)
    torch.save(content, hashed)  # type: ignore[arg-type]  # all that it needs is write and flush
    assert hashed.held == b"\0\0", "an archive ends with the length of its comment, none so far"
    file.write(_LENGTH + _MARK + hashed.digest.hexdigest().encode())


def read(path: Path, device: torch.device | str) -> tuple[Any, bool]:
    """What a file of torch.save holds, read without running code, and whether it is sealed.

    Raises:
        UserError: it is not there, is damaged, carries code, or is no such file; says which.
    """
    try:
        with open(path, "rb") as file:
            sealed = _demand_whole(path, file)
            file.seek(0)
            with _reasons(path):
                return torch.load(file, map_location=device, weights_only=True), sealed
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint there") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _demand_whole(path: Path, file: IO[bytes]) -> bool:
    """Whether there is a seal, which then is right; else every checksum of the archive is."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise UserError(f"{path}: damaged, it is empty")
    if size > _TAIL:
        file.seek(size - _TAIL)
        tail = file.read(_TAIL)
        if tail.startswith(_LENGTH + _MARK):
            if tail[-_HEX:] != _digest(file, size - _TAIL):
                raise UserError(f"{path}: damaged, its bytes are not those that were written")
            return True
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        _demand_sound(path, file, size)
    return False


def _digest(file: IO[bytes], size: int) -> bytes:
    """The sha256 of the first `size` bytes, in hexadecimal."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    file.seek(0)
    while size:
        count = file.readinto(buffer[: min(_CHUNK, size)])  # type: ignore[attr-defined]
        digest.update(buffer[:count])
        size -= count
    return digest.hexdigest().encode()


def _demand_sound(path: Path, file: IO[bytes], size: int) -> None:
    """Of an archive without a seal: as torch.save lays it out, and each member's checksum right."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(member.filename.endswith("/constants.pkl") for member in members):
                raise UserError(f"{path}: refused, it carries code (TorchScript)")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise UserError(
                    f"{path}: refused, its members are compressed, which torch.save never does"
                )
            if sum(member.file_size for member in members) > size:
                raise UserError(f"{path}: refused, its members are larger than the file")
            bad = archive.testzip()
    except UserError:
        raise
    except Exception as error:  # zipfile fails in many ways on what is no archive any more
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
