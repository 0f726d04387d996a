"""HParams of a sweep in a real TensorBoard, looked at with a real browser."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser, find_all, page_text, wait_for

from dlrun.config.compose import compose_plain
from dlrun.runs.folder import RunFolder
from dlrun.runs.loggers import LoggedRun, TensorBoard, Tracker, is_logged
from dlrun.text import flatten

JOBS = {  # folders and what the command line gave
    "aaaa1111": (["method=byol", "optimizer.lr=0.1"], 0.8125),
    "bbbb2222": (["method=byol", "optimizer.lr=0.2"], 0.75),
    "cccc3333": (["method=vae", "optimizer.lr=0.1"], 0.625),
    "dddd4444": (["method=vae", "optimizer.lr=0.2"], 0.6875),
}


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs" / "sweeps" / "mine"
    for name, (overrides, value) in JOBS.items():
        plain = compose_plain(overrides, None)
        method = plain["method"]["name"]
        run = RunFolder(folder / name)
        run.path.mkdir(parents=True)
        run.prepare(plain)
        logged = LoggedRun(run.path, 0, {k: v for k, v in flatten(plain).items() if is_logged(k)})
        tracker = Tracker(run, 0, [TensorBoard(TensorBoard.Config(), logged)])
        for step in (1, 2):
            tracker.log(step, step, {"train/loss": 1 / step, f"val/of_{method}": value})
        tracker.scalars(2, {f"test/best/of_{method}": value})
        tracker.summary(2, 4.0, 512, {"best": value, "last": value / 2})
        tracker.close()
    return folder


@pytest.fixture
def address(sweep: Path) -> Iterator[str]:
    """Of a server that has read the sweep."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(sweep),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(
        [*command, "--port", str(port), "--host", "127.0.0.1", "--load_fast", "false"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
    )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_for(lambda: len(JOBS) <= _runs(base), "TensorBoard reads the runs")
        yield base
    finally:
        server.kill()
        server.wait()


def _runs(base: str) -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base}/data/runs", timeout=5) as answer:
            return answer.read().count(b"tensorboard")
    except OSError:
        return 0


def test_the_table_and_the_parallel_coordinates_hold_every_run_of_a_sweep(
    address: str, tmp_path: Path
) -> None:
    with browser(tmp_path / "profile") as page:
        page.get(f"{address}/#hparams")
        table = wait_for(lambda: _with(page_text(page), *JOBS, "summary/best"), "the table")
        for words in ("method.name", "method.tau", "method.latent", "optimizer.lr", "summary/last"):
            assert words in table, f"{words} is no column"
        for value in ("byol", "vae", "0.81250", "0.75000", "0.62500", "0.68750", "0.40625"):
            assert value in table.splitlines(), f"{value} is in no cell"
        page.save_screenshot(str(tmp_path / "hparams-table.png"))
        (tab,) = [tab for tab in find_all(page, "paper-tab") if "PARALLEL" in tab.text.upper()]
        tab.click()
        lines = wait_for(
            lambda: [
                line for line in find_all(page, ".foreground path") if line.get_attribute("d")
            ],
            "a line for each run",
        )
        page.save_screenshot(str(tmp_path / "hparams-parallel.png"))
        drawn = [_shape(line) for line in lines]
        assert len(drawn) == len(JOBS) and not any("NaN" in path for path in drawn)
        assert len(set(drawn)) == len(JOBS)


def _with(text: str, *words: str) -> str | None:
    return text if all(word in text for word in words) else None


def _shape(path: Any) -> str:
    return str(path.get_attribute("d") or "")
