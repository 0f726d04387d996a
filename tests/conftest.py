"""Fixtures that every tier of tests shares."""

import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from forked import Forked

# Two workers on two cores: one thread each, set before torch is imported, here and in subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Whole processes, kills, trainings to a quality: `pytest -m "not slow"` leaves them out.
SLOW = (
    "resume/", "sweep/", "distributed/", "slurm/", "cli/test_chain", "cli/test_completion",
    "cli/test_tensorboard", "cli/test_wheel", "contract/", "report/test_report_browser",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of `SLOW`."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)


SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """What a command run in this process does to the logger is over with the test."""
    logger = logging.getLogger("dlrun")
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no folder shared/data beside the checkout")
    return SHARED_DATA


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Writes a file of a user's project, in which the test stands; forgets its modules after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    yield write
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


Dlrun = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def dlrun(tmp_path: Path) -> Dlrun:
    """Runs `dlrun ARGUMENTS` as a user does, in an empty folder of its own."""

    def run(
        *arguments: str,
        cwd: Path = tmp_path,
        timeout: float = 120,
        env: dict[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        own = {**os.environ, "DLRUN_DATA": str(tmp_path / "cache"), **(env or {})}
        with TemporaryFile("w+") as out, TemporaryFile("w+") as error:
            process = Forked(arguments, cwd, own, out.fileno(), error.fileno())
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
            out.seek(0)
            error.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read(), error.read())

    return run
