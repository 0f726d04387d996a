"""Two processes that want the same data set at the same moment."""

import errno
import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dlrun.data.sources.downloads import MNIST


class Unpacks:
    """As torchvision's do it: in place, and what is there is taken as it is."""

    classes = ("a", "b")

    def __init__(self, root: str, train: bool, download: bool) -> None:
        path = Path(root) / f"unpacked-{train}"
        if not path.exists():
            with open(path, "wb") as file:
                file.write(bytes(392))
                file.flush()
                time.sleep(0.2)
                file.write(bytes(392))
        self.data = np.fromfile(path, np.uint8).reshape(1, 28, 28)
        self.targets = [0]


def _load(folder: Path, answers: Any) -> None:
    try:
        splits = MNIST().load(SimpleNamespace(), folder)
        answers.put(tuple(splits.train.images.shape))
    except Exception as error:
        answers.put(str(error))


def test_none_reads_half_of_what_the_other_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", Unpacks)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    both = [context.Process(target=_load, args=(tmp_path, answers)) for _ in range(2)]
    for process in both:
        process.start()
    told = [answers.get(timeout=60) for _ in both]
    for process in both:
        process.join(60)
    assert told == [(1, 1, 28, 28)] * 2


def test_a_folder_that_is_complete_may_be_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST", Unpacks)
    MNIST().load(SimpleNamespace(), tmp_path)

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    assert len(MNIST().load(SimpleNamespace(), tmp_path).train) == 1
