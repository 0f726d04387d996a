"""Fixtures that every tier of tests shares."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

# Two workers on two cores: one thread each, set before torch is imported, here and in subprocesses.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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
        command: Sequence[str] = [sys.executable, "-m", "dlrun", *arguments]
        return subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "DLRUN_DATA": str(tmp_path / "cache"), **(env or {})},
            check=False,
        )

    return run
