"""The cache of decoded images: found again by what the files hold, told and freed.

An entry is named by the content of a folder's images and by how they were decoded, so it is found
again whatever the folder is called, whoever owns the files and when they were last touched. A list
of the files that were seen in a folder, with their sizes and times, spares reading those that have
not changed. Needs no torch to be listed.
"""

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.files import atomic, peek_json, write_json

_FORMAT = 4  # goes into an entry's name: raise it when decoding changes
_THREADS = 16
_DAY = 86_400.0
_log = logging.getLogger("dlrun")


@dataclass(frozen=True)
class Contents:
    """What the files of a folder hold: a digest for each, and one of all in their order."""

    digests: list[str]
    whole: str


def read_contents(root: Path, paths: Sequence[str], cache: Path) -> Contents:
    """The digests of files below `root`; those that have not changed are not read again.

    Args:
        root: the folder.
        paths: of the files.
        cache: where the list of the folder's files is kept; it need not be writable.
    """
    listed = cache / f"{_digest(os.fsencode(root.resolve()))}.json"
    before = peek_json(listed)
    known = before.get("files")
    known = known if isinstance(known, dict) else {}
    start = len(os.path.join(root, ""))
    found: list[tuple[list[Any], str]] = []
    unread = []
    for number, path in enumerate(paths):
        try:
            state = os.stat(path)
        except OSError as error:  # a link to nothing: decoding says so
            found.append(([], f"{error.strerror} {os.path.abspath(path)}"))
            continue
        facts = [state.st_size, state.st_mtime_ns, state.st_ctime_ns]
        row = known.get(path[start:])
        if isinstance(row, list) and row[:3] == facts and isinstance(row[-1], str):
            found.append((facts, row[-1]))
        else:
            found.append((facts, ""))
            unread.append(number)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        digests = pool.map(_digest_of, (paths[number] for number in unread))
        for number, digest in zip(unread, digests, strict=True):
            found[number] = (found[number][0], digest)
    whole = _digest(
        "\n".join(dict.fromkeys(digest for _, digest in found)).encode("utf-8", "replace")
    )
    rows = zip(paths, found, strict=True)
    # What could not be read, which has its path in place of a digest, is tried again.
    files = {path[start:]: [*facts, digest] for path, (facts, digest) in rows if "/" not in digest}
    if files != known or before.get("whole") != whole:
        old = before.get("whole")
        _write(listed, {"root": str(root.resolve()), "whole": whole, "files": files})
        if isinstance(old, str) and old != whole:
            _forget(cache, old)
    return Contents([digest for _, digest in found], whole)


def restored(cache: Path, contents: Contents, how: "How") -> dict[str, Any] | None:
    """What `kept` has kept of these files, decoded the same way; its pixels stay on the disk."""
    import torch

    for path in sorted(cache.glob(f"{contents.whole}-{how.pattern}.pt")):
        try:
            stored: dict[str, Any] = torch.load(path, weights_only=True, mmap=True)
        except Exception as error:  # cut short by a full disk or a power cut
            _log.warning("%s is damaged (%s) and is made again", path, type(error).__name__)
            continue
        with suppress(OSError):
            os.utime(path)  # `dlrun gc` frees what was not used for long
        return stored
    return None


def kept(cache: Path, contents: Contents, how: "How", stored: dict[str, Any]) -> dict[str, Any]:
    """Keeps what was decoded and gives it as it lies on the disk; itself if it cannot be kept."""
    import torch

    channels, bits = stored["images"].shape[1], stored["bits"]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with atomic(cache / f"{contents.whole}-{how.name(channels, bits)}.pt") as temporary:
            torch.save(stored, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        _log.warning("the decoded images could not be kept in %s: %s", cache, error)
        return stored
    return restored(cache, contents, how) or stored


@dataclass(frozen=True)
class How:
    """How images are decoded; channels and bits are None where the images decide."""

    size: int
    channels: int | None
    bits: int | None

    @property
    def pattern(self) -> str:
        """Of the names of entries that hold what is wanted."""
        channels = "?a" if self.channels is None else f"{self.channels}[ag]"
        bits = "*a" if self.bits is None else f"{self.bits}[ag]"
        return f"v{_FORMAT}-{self.size}-{channels}-{bits}"

    def name(self, channels: int, bits: int) -> str:
        """Of an entry: what was given, or found automatically."""
        marks = ["a" if asked is None else "g" for asked in (self.channels, self.bits)]
        return f"v{_FORMAT}-{self.size}-{channels}{marks[0]}-{bits}{marks[1]}"


# --- told and freed -------------------------------------------------------------------------------


def entries(cache: Path) -> list[Path]:
    """The files of the cache."""
    return sorted(path for path in cache.glob("*") if path.suffix in (".pt", ".json"))


def unused(cache: Path, days: float) -> list[tuple[Path, str]]:
    """Entries that no folder needs, or that were not used for so many days, and why."""
    found: list[tuple[Path, str]] = []
    needed: dict[str, str] = {}
    for path in cache.glob("*.json"):
        listed = peek_json(path)
        root = str(listed.get("root"))
        if os.path.isdir(root):
            needed[str(listed.get("whole"))] = root
        else:
            found.append((path, "list of images in a folder that is gone"))
    for path in sorted(cache.glob("*.pt")):
        root = needed.get(path.name.partition("-")[0], "")
        if not root:
            found.append((path, "decoded images that no folder holds now"))
        elif time.time() - path.stat().st_mtime >= days * _DAY:
            found.append((path, f"decoded images of {root}, not used for {days:g} days"))
    return found


def _digest_of(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except OSError as error:  # decoding says so
        return f"{error.strerror} {os.path.abspath(path)}"


def _forget(cache: Path, whole: str) -> None:
    """Removes entries of what a folder held before, unless another folder holds the same."""
    if any(peek_json(path).get("whole") == whole for path in cache.glob("*.json")):
        return
    for path in cache.glob(f"{whole}-*.pt"):
        with suppress(OSError):
            path.unlink()


def _write(path: Path, content: dict[str, Any]) -> None:
    with suppress(OSError):  # a cache that is read-only still serves what it has
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()
