"""The index: a cache of what runs' small files say, so that thousands are listed at once.

The folders are the truth. Every row carries the stamp of the files that it was read from, and one
whose stamp has changed is read again; the file may be deleted at any time.
"""

import json
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dlrun.runs.record import Record, live, read_record
from dlrun.runs.scan import Found, scan

_VERSION = 1  # raise it when `Record` changes: an older index is then made anew
_PATIENCE = 5.0  # seconds that a writer waits for another one
_TABLE = "CREATE TABLE IF NOT EXISTS runs (path TEXT PRIMARY KEY, stamp TEXT, record TEXT)"


def index_file() -> Path:
    """In the user's cache, or below $DLRUN_DATA; one a machine.

    WAL needs shared memory, which two machines that share a home folder do not have.
    """
    chosen = os.environ.get("DLRUN_DATA")
    if chosen:
        base = Path(chosen).expanduser().absolute()
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "dlrun"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches" / "dlrun"
    else:
        asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = (asked if asked.is_absolute() else Path.home() / ".cache") / "dlrun"
    return base / "index" / f"{socket.gethostname()}-{_VERSION}.sqlite"


def records(outputs: Path) -> tuple[list[Record], str | None]:
    """Every run below `outputs` as it stands now, oldest first.

    Returns:
        The runs, and a line about the index where it could not be used: they were then read from
        their folders, which is slower and gives the same.
    """
    found, path = scan(outputs), index_file()
    trouble: Exception | None = None
    known: dict[str, tuple[str, str]] = {}
    try:
        known = _rows(path, os.path.abspath(outputs))
    except (sqlite3.Error, OSError) as error:
        trouble = error
    fresh: dict[str, tuple[Found, Record]] = {}
    listed = []
    for run in found:
        record = _known(run, known)
        if record is None:
            record = read_record(Path(run.path))
            fresh[run.path] = (run, record)
        listed.append(live(record))
    there = {run.path for run in found}
    gone = [(name, stamp) for name, (stamp, _) in known.items() if name not in there]
    if trouble is None and (fresh or gone):
        try:
            _keep(path, list(fresh.values()), gone)
        except (sqlite3.Error, OSError) as error:
            trouble = error
    return listed, None if trouble is None else _told(path, trouble)


def _known(run: Found, known: dict[str, tuple[str, str]]) -> Record | None:
    stamp, text = known.get(run.path, ("", ""))
    if stamp != run.stamp:
        return None
    try:
        return Record(**json.loads(text))
    except (TypeError, ValueError):
        return None


def _rows(path: Path, outputs: str) -> dict[str, tuple[str, str]]:
    """What the index holds of the runs in and below `outputs`."""
    if not path.exists():
        return {}
    with _opened(path) as connection:
        inside = outputs.rstrip(os.sep) + os.sep
        rows = connection.execute(
            "SELECT path, stamp, record FROM runs WHERE path = ? OR (path > ? AND path < ?)",
            (outputs, inside, inside[:-1] + chr(ord(os.sep) + 1)),
        ).fetchall()
    return {name: (stamp, text) for name, stamp, text in rows}


def _keep(path: Path, fresh: list[tuple[Found, Record]], gone: list[tuple[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [(run.path, run.stamp, json.dumps(vars(record))) for run, record in fresh]
    with _opened(path) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        # With its stamp: a run that another process has just put back is not forgotten.
        connection.executemany("DELETE FROM runs WHERE path = ? AND stamp = ?", gone)
        connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?)", rows)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
        if os.access(path, os.W_OK):
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(_TABLE)
        yield connection


def _told(path: Path, trouble: Exception) -> str:
    remedy = "delete it, it is made anew" if isinstance(trouble, sqlite3.DatabaseError) else ""
    if "readonly" in str(trouble) or "locked" in str(trouble):
        remedy = ""
    return (
        f"the index {path} cannot be used ({trouble}); the folders were read instead"
        f"{f'; {remedy}' if remedy else ''}"
    )
