"""Finding image files, and reading them as a stream that is never whole in memory."""

import glob
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from dlrun.data.sources.decoding import decode_file, reason
from dlrun.data.sources.layout import SUFFIXES, LeftOut, images_below
from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.text import printable
from dlrun.use.images import Shape

BATCH = 128
_THREADS = 16  # more only wait for the interpreter's lock
_AHEAD = 2  # batches that are decoded while one is being used

_log = logging.getLogger("dlrun")

T = TypeVar("T")


@dataclass(frozen=True)
class Read(Generic[T]):
    """A file and its content, or why it could not be read."""

    path: str
    value: T | None
    error: str = ""


def find_files(given: Sequence[str]) -> list[str]:
    """The images of files, folders (everything below them) and patterns such as 'a/*.png'.

    In the given order, by name within a folder or pattern, each once. A file that is given itself
    may have any ending; hidden files below a folder are left out.

    Raises:
        UserError: there is no such file, or no image.
    """
    found: dict[str, None] = {}
    for text in given:
        paths = _expand(text)
        if not paths:
            raise UserError(
                f"{printable(text)}: no image there; expected {', '.join(SUFFIXES[:6])} files"
            )
        found.update(dict.fromkeys(paths))
    return list(found)


def _expand(text: str) -> list[str]:
    path = expanded(text)
    if os.path.isdir(path):
        left = LeftOut(path)
        found = images_below(path, left=left)
        if str(left):
            _log.warning("%s: left out: %s", printable(text), left)
        return found
    if os.path.isfile(path):
        return [path]
    if os.path.exists(path):
        raise UserError(f"{printable(text)}: a pipe or device, expected an image file or a folder")
    matches = sorted(glob.glob(path, recursive=True))
    if not matches:
        what = "nothing matches it" if glob.has_magic(path) else "no such file or folder"
        raise UserError(f"{printable(text)}: {what}")
    return [p for p in matches if os.path.isfile(p) and p.lower().endswith(SUFFIXES)]


def stream(
    paths: Sequence[str], decode: Callable[[str], T], size: int = BATCH
) -> Iterator[list[Read[T]]]:
    """`decode` of every file, in batches and in order, by threads that are a few batches ahead."""

    def read(path: str) -> Read[T]:
        try:
            return Read(path, decode(path))
        except Exception as error:  # each decoder fails in its own way
            return Read(path, None, reason(error, path))

    parts = [paths[start : start + size] for start in range(0, len(paths), size)]
    waiting: list[list[Future[Read[T]]]] = []
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            for part in parts:
                waiting.append([pool.submit(read, path) for path in part])
                if len(waiting) > _AHEAD:
                    yield [future.result() for future in waiting.pop(0)]
            while waiting:
                yield [future.result() for future in waiting.pop(0)]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read_batches(
    paths: Sequence[str], shape: Shape, bits: int
) -> Iterator[tuple[list[Read[Tensor]], Tensor]]:
    """Batches of files, and uint8 (N, *shape) of those that could be read.

    `bits` are those that images of 16 bits use.
    """
    for batch in stream(paths, lambda path: decode_file(path, shape, bits)):
        good = [read.value for read in batch if read.value is not None]
        yield batch, torch.stack(good) if good else torch.empty(0, *shape, dtype=torch.uint8)


def read_all(paths: Sequence[str], shape: Shape, bits: int) -> tuple[Tensor, list[Read[Tensor]]]:
    """uint8 (N, *shape) of the files that can be read, and the others."""
    batches = list(read_batches(paths, shape, bits))
    unreadable = [read for batch, _ in batches for read in batch if read.value is None]
    tables = [table for _, table in batches] or [torch.empty(0, *shape, dtype=torch.uint8)]
    return torch.cat(tables), unreadable


def writable(path: str | Path) -> str:
    """A name as it can be written; one that is not UTF-8 with escapes."""
    return str(path).encode(errors="backslashreplace").decode()
