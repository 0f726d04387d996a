"""Killed at a random moment and resumed, a run ends bit for bit as if nothing had happened."""

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from project import (
    METHODS,
    assert_same,
    command,
    make_project,
    only_run,
    rows,
    start,
    tensorboard,
    train_teacher,
)

from dlrun.training import checkpoint

STEPS = 24


def kill_at_random(project: Path, arguments: list[str], chance: random.Random) -> None:
    """Starts, and kills some time after a random step was logged."""
    after = chance.randrange(1, STEPS - 6)
    process = start(project, *arguments)
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            found = list((project / "killed").rglob("metrics.jsonl"))
            if (
                found
                and found[0].read_text().count("\n")
                and rows(found[0].parent)[-1]["step"] >= after
            ):
                break
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        assert process.poll() is None, process.communicate()[0]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_killed_run_ends_as_the_undisturbed_one(
    tmp_path: Path, method: str, precision: str
) -> None:
    project = make_project(tmp_path)
    if method == "distill":
        train_teacher(project)
    settings = [f"steps={STEPS}", "hardware=cpu", f"hardware.precision={precision}"]
    undisturbed = start(project, *command(method, *settings, "outputs=whole"))
    assert undisturbed.wait(120) == 0, undisturbed.communicate()[0]
    chance = random.Random(f"{method}{precision}")
    kill_at_random(project, command(method, *settings, "outputs=killed"), chance)
    whole, killed = only_run(project / "whole"), only_run(project / "killed")
    assert not (killed / "summary.json").exists()
    if method == "distill":  # a run does not need the one that it began with any more
        shutil.rmtree(project / "teachers")
    resumed = start(project, "resume", str(killed))
    told = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0, told
    for name in ("last.pt", "best.pt"):
        if (whole / "checkpoints" / name).exists():
            assert_same(
                checkpoint.load(whole / "checkpoints" / name),
                checkpoint.load(killed / "checkpoints" / name),
                name,
            )
    assert rows(whole) == rows(killed)
    assert tensorboard(whole) == tensorboard(killed)
    summaries = [json.loads((run / "summary.json").read_text()) for run in (whole, killed)]
    assert summaries[0]["test"] == summaries[1]["test"]
    pictures = [sorted((run / "samples").iterdir()) for run in (whole, killed)]
    assert [p.name for p in pictures[0]] == [p.name for p in pictures[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*pictures, strict=True))
    assert len((killed / "command.txt").read_text().splitlines()) == 2
