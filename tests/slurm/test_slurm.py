"""A sweep on a real Slurm: requeued in the middle, it ends as the undisturbed one.

Skipped where Slurm or the launcher's plugin (dlrun[slurm]) is not installed; takes a minute or two.
"""

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from cluster import cluster, why_not
from troubled import COMMON, make_troubled

pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=why_not() or ""),
    pytest.mark.skipif(find_spec("submitit") is None, reason="no submitit; dlrun[slurm] brings it"),
]


def losses(outputs: Path) -> list[list[tuple[int, float]]]:
    """Of each job, by its folder's name: every step's loss."""
    found = []
    for path in sorted(outputs.rglob("metrics.jsonl"), key=lambda path: path.parent.name):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        found.append([(r["step"], r["train/loss"]) for r in rows if "train/loss" in r])
    return found


def test_a_requeued_job_is_resumed_exactly(tmp_path: Path) -> None:
    project = make_troubled(tmp_path / "project")
    sweep = [sys.executable, "-m", "dlrun", "train", "-m", *COMMON, "steps=40", "seed=0,1"]
    sweep.append("method.pause=0.2")
    slurm = [
        "hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.mem_gb=2",
    ]  # fmt: skip
    undisturbed = subprocess.run(
        [*sweep, "outputs=whole"], cwd=project, capture_output=True, text=True, check=False
    )
    assert undisturbed.returncode == 0, undisturbed.stdout + undisturbed.stderr
    with cluster(tmp_path / "slurm") as environment:
        process = subprocess.Popen(
            [*sweep, *slurm], cwd=project, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        deadline = time.monotonic() + 240
        while not any(len(job) >= 5 for job in losses(project / "outputs")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        assert max(map(len, losses(project / "outputs"))) < 35
        shown = subprocess.run(
            ["squeue", "-h", "-t", "R", "-o", "%i"],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        running = shown.stdout.split()
        assert running
        for job in running:
            subprocess.run(["scontrol", "requeue", job], env=environment, check=True)
            at_once = ["scontrol", "update", f"JobId={job}", "StartTime=now"]  # not in two minutes
            while subprocess.run(at_once, env=environment, check=False).returncode:
                assert time.monotonic() < deadline
                time.sleep(1)
        out = process.communicate(timeout=400)[0]
    assert process.returncode == 0, out
    assert "2 completed" in out.splitlines()
    commands = [path.read_text() for path in (project / "outputs").rglob("command.txt")]
    assert max(text.count("\n") for text in commands) == 2
    assert losses(project / "outputs") == losses(project / "whole")
