"""Files that are replaced whole, locks between processes, and the user's cache folder."""

import codecs
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from dlrun.errors import UserError


@contextmanager
def atomic(path: Path, durable: bool = False) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which replaces `path` when the block ends.

    A kill at any moment leaves the old file or the new one, an error the old one.

    Args:
        path: in a folder that exists.
        durable: whether it is on the disk when the block ends, also if the power fails then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        os.replace(temporary, path)
        if durable and os.name != "nt":  # a folder cannot be opened there
            _sync(path.parent)
    finally:
        with suppress(OSError):  # its folder may not even be one
            temporary.unlink()


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """`atomic`, for a file that the user asked for: its folder is made.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Replaces `path` with `text` in UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Replaces `path` with `content`, indented."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or {} where there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_jsonl(path: Path, having: bytes = b"") -> list[dict[str, Any]]:
    """The objects in `path`, a line each, up to one that is unfinished or damaged; [] without it.

    Lines without the text `having` are passed over unread.
    """
    rows: list[dict[str, Any]] = []
    with suppress(OSError, ValueError):
        for line in path.read_bytes().splitlines():
            if having in line:
                rows.append(json.loads(line.decode()))
    return rows


def expanded(path: str) -> str:
    """`path` with ~ and $VARIABLES replaced; what is unknown stays as it is."""
    return os.path.expanduser(os.path.expandvars(path))


def text_of(path: Path) -> str:
    """The text in a file of the user's: UTF-8, or UTF-16 as Windows writes it, with a mark.

    Raises:
        UserError: it is neither; names the line.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if marked else "utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None


def load_yaml(path: Path) -> Any:
    """What a YAML file says, read as OmegaConf does, but ten times as fast where there is libyaml.

    Raises:
        OSError, UserError, yaml.YAMLError: it cannot be read.
    """
    import yaml

    return yaml.load(text_of(path), _yaml_loader())


@cache
def _yaml_loader() -> Any:
    """YAML's safe loader, in which 1e-3 is a number: YAML 1.1 asks for a dot and a sign."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("Loader", (base,), {})
    number = re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$")
    loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return loader


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock file `path`, and holds it.

    A process that dies lets go of it. In a folder that is read-only nobody waits.
    """
    from filelock import FileLock

    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def cache_folder(data_dir: str | None = None) -> Path:
    """Where downloads and decoded images are: `data_dir`, $DLRUN_DATA, or the user's cache."""
    from platformdirs import user_cache_path

    chosen = data_dir or os.environ.get("DLRUN_DATA")
    if chosen:
        return Path(expanded(chosen)).absolute()
    return user_cache_path("dlrun", appauthor=False)


def free_memory() -> float:
    """Bytes that a process can still have, on this machine or in this container."""
    import psutil

    free = float(psutil.virtual_memory().available)
    if hasattr(psutil, "RLIMIT_AS"):
        process = psutil.Process()
        limit = process.rlimit(psutil.RLIMIT_AS)[0]
        free = free if limit < 0 else min(free, limit - process.memory_info().vms)
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        rows = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return min(free, most - used + int(rows["inactive_file"]))  # files that can be dropped
    except (OSError, ValueError, KeyError):  # no such file, or no limit ("max")
        return free
