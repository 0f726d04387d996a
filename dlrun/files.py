"""Files that are replaced whole, locks between processes, and the user's cache folder."""

import codecs
import errno
import json
import logging
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dlrun.errors import UserError
from dlrun.text import short

if TYPE_CHECKING:
    from filelock import BaseFileLock

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, *_READ_ONLY)
"""What a disk says that is full, or may not be written to."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)

MOST = 32 * 2**20
"""Bytes of a file of one's own that are read; the largest have the text of a diff."""
_MOST_YAML, _MOST_LINES = 2**20, 2**30  # the config of a run, and a row for each step
_DEEPEST = 50


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
        with naming(path, temporary):
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
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Names `path` in an OSError of it, as Python does not where an open file is written.

    torch.save raises a RuntimeError in its place; here it is the OSError again.

    Args:
        path: of the file that is written.
        temporary: the name under which that is done.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        if cause.errno is not None and cause.filename in (None, str(temporary)):
            cause.filename, cause.filename2 = str(path), None
        raise cause from None


def os_error_line(error: OSError) -> str:
    """'FILE: No space left on device'; without a file the reason alone."""
    reason = error.strerror or str(error) or type(error).__name__
    return reason if error.filename is None else f"{short(os.fsdecode(error.filename))}: {reason}"


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
        if error.filename is None or Path(error.filename) not in (path, *path.parents):
            raise  # of what is read meanwhile
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


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


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """A regular file that others may have written, to be read.

    Raises:
        OSError: it cannot be read, or is a pipe or a device, which might never end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read_bytes(path: Path, most: int = MOST) -> bytes:
    """What a regular file holds.

    Raises:
        OSError: as `open_regular`.
        ValueError: it is larger than `most` bytes.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"larger than {most >> 20} MiB")
    return content


def append_text(path: Path, text: str, errors: str = "replace") -> None:
    """Adds `text` in UTF-8 to the end of a file. Raises OSError, also where it is a pipe."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
    with (
        naming(path),
        open(os.open(path, flags, 0o666), "a", encoding="utf-8", errors=errors) as file,
    ):
        file.write(text)


def load_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        OSError: as `read_bytes`.
        ValueError: it holds something else, is too large, or nested too deeply; says which.
    """
    text = read_bytes(path)
    try:
        content = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError("not JSON") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if text.count(b"{") + text.count(b"[") > _DEEPEST and _depth(content) > _DEEPEST:
        raise ValueError("nested too deeply")
    return content


def _depth(content: Any) -> int:
    depth, level = 0, [content]
    while level and depth <= _DEEPEST:
        depth += 1
        inner = (x.values() if isinstance(x, dict) else x for x in level)
        level = [y for x in inner for y in x if isinstance(y, dict | list)]
    return depth


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`, or {} where there is none.

    Raises:
        OSError: there is a file, which cannot be read.
    """
    try:
        return load_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


def peek_json(path: Path) -> dict[str, Any]:
    """As `read_json`, also {} where it cannot be read: a cache, or what another process writes."""
    with suppress(OSError):
        return read_json(path)
    return {}


def read_jsonl(path: Path, having: bytes = b"") -> list[dict[str, Any]]:
    """The objects in `path`, a line each, up to one that is unfinished or damaged; [] without it.

    Lines without the text `having` are passed over unread.
    """
    with suppress(OSError, ValueError):
        return parse_lines(read_bytes(path, _MOST_LINES), having)
    return []


def parse_lines(content: bytes, having: bytes = b"") -> list[dict[str, Any]]:
    """As `read_jsonl`, of what a file holds."""
    rows: list[dict[str, Any]] = []
    with suppress(ValueError, RecursionError):
        for line in content.split(b"\n"):
            if line and having in line:
                row = json.loads(line.decode())
                if not isinstance(row, dict):
                    break
                rows.append(row)
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


def load_plain_yaml(path: Path) -> Any:
    """What a YAML file says that dlrun has written: plain values, without aliases, not deep.

    Raises:
        OSError: as `read_bytes`.
        ValueError: it is too large, or no such YAML; says which.
    """
    import yaml

    text = read_bytes(path, _MOST_YAML)
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for event in yaml.parse(text, base):  # costs no depth of Python's and no memory
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError("nested too deeply")
            if getattr(event, "anchor", None) or getattr(event, "tag", None):
                raise ValueError("it has anchors or tags, which dlrun never writes")
        return yaml.load(text, _yaml_loader())
    except yaml.YAMLError:
        raise ValueError("not YAML") from None


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


def process_lock(path: Path, **options: Any) -> "BaseFileLock":
    """A lock file, which one process holds at a time; one that dies lets go of it.

    Where the file system has no locks, as some Lustre and NFS, a file beside it is the lock while
    it is there, and names its process and machine.

    Args:
        path: of the file.
        options: of filelock's classes.
    """
    from filelock import FileLock, SoftFileLock

    if _has_locks(path.parent):
        return FileLock(path, **options)
    return SoftFileLock(path.with_name(f"{path.name}.held"), **options)


def _has_locks(folder: Path) -> bool:
    """Whether its file system has locks; says so once where it has none."""
    try:
        return _device_has_locks(os.stat(folder).st_dev, folder)
    except OSError:  # not there, or read-only: whoever takes the lock is told
        return True


_known: dict[int, bool] = {}


def _device_has_locks(device: int, folder: Path) -> bool:
    if device not in _known:
        if sys.platform == "win32":
            return True
        import fcntl

        with tempfile.TemporaryFile(dir=folder) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _known[device] = True
            except OSError as error:
                _known[device] = error.errno not in _NO_LOCKS
        if not _known[device]:
            logging.getLogger("dlrun").warning(
                "%s: this file system has no locks; a run that was killed on another machine stays "
                "locked until its file .lock.held is deleted", short(folder),
            )  # fmt: skip
    return _known[device]


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock file `path`, and holds it.

    In a folder that is read-only nobody waits.
    """
    lock = process_lock(path)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        yield
        return
    try:
        yield
    finally:
        lock.release()


def cache_folder(data_dir: str | None = None) -> Path:
    """Where downloads and decoded images are: `data_dir`, $DLRUN_DATA, or the user's cache.

    A user without a home folder, as in a container, has one below the folder for temporary files.
    """
    from platformdirs import user_cache_path

    chosen = data_dir or os.environ.get("DLRUN_DATA")
    if chosen:
        return Path(expanded(chosen)).absolute()
    try:
        return user_cache_path("dlrun", appauthor=False)
    except RuntimeError:  # neither HOME nor an entry of the user in the list of users
        return Path(tempfile.gettempdir(), f"dlrun-{os.getuid()}")


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
