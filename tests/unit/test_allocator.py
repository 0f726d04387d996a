"""Memory that a step has freed is used by the next, without fresh pages of the system."""

import os
import platform
import resource
import subprocess
import sys

import pytest

from dlrun.training.hardware import keep_freed_memory

CODE = """
import resource, sys
import torch
from dlrun.training.hardware import keep_freed_memory

def faults_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        layers = [torch.ones(n * 200_000) for n in range(1, 9)]  # up to 6 MB each
        del layers
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20

faults_of_a_step()
before = faults_of_a_step()
done = keep_freed_memory()
faults_of_a_step()
print(done, before, faults_of_a_step())
"""


def told(**environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_steps_wait_for_no_pages() -> None:
    done, before, after = told()
    pages = sum(range(1, 9)) * 200_000 * 4 / resource.getpagesize()
    assert done == "True"
    assert float(after) < 0.01 * pages
    assert float(after) <= float(before)


def test_what_the_user_has_tuned_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
        assert not keep_freed_memory()
    with monkeypatch.context() as patch:
        patch.setenv("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1000000")
        assert not keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
