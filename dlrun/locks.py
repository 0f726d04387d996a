"""One process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Waits until no other process of this machine is inside with the same file.

    The kernel lets go of it when a process dies. Where the file cannot be made, as in a folder that
    is read-only, or where there are no such locks (Windows), nobody waits.
    """
    try:
        import fcntl

        file = open(path, "a")  # noqa: SIM115  closed below, which lets go
    except (ImportError, OSError):
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
