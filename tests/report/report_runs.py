"""Run folders as training leaves them, made in a moment: for the tests of the report."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

CONFIG = """\
method:
  name: supervised
model:
  name: cnn
dataset:
  name: fashion_mini
optimizer:
  lr: {lr}
seed: {seed}
name: null
outputs: outputs
"""


def make_run(
    path: Path,
    accuracy: float | None,
    *,
    lr: float = 0.1,
    seed: int = 0,
    state: str = "completed",
    reason: str = "",
    steps: tuple[int, ...] = (10, 20, 30),
    **summary: Any,
) -> Path:
    """A run with val accuracies that rise to `accuracy`; no summary where that is None."""
    (path / "samples").mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG.format(lr=lr, seed=seed))
    (path / "command.txt").write_text("2026-01-02 03:04:05 dlrun train method=supervised\n")
    status = {
        "state": state, "step": steps[-1], "total": 30, "started": 1.7e9, "heartbeat": 1.7e9,
        "pid": 1, "host": "elsewhere", "reason": reason,
    }  # fmt: skip
    _json(path / "status.json", status)
    _json(
        path / "provenance.json",
        {"dlrun": "0.1.0", "python": "3.12", "packages": {"torch": "2.9"}, "hardware": "CPU",
         "data_checksum": "abc123", "git": {"commit": "f00d", "diff": ""}},
    )  # fmt: skip
    with open(path / "metrics.jsonl", "w") as file:
        for number, step in enumerate(steps, 1):
            loss, share = 2.0 / number, number / len(steps)
            line = {"step": step, "time": step / 10 + seed, "train/loss": loss}
            file.write(json.dumps(line) + "\n")
            reached = (accuracy if accuracy is not None else 0.5) * share
            line = {"step": step, "time": step / 10 + seed, "val/accuracy": reached}
            file.write(json.dumps(line) + "\n")
            picture = Image.new("RGB", (60, 30), (60 * number, 40 + seed, round(25 * lr)))
            picture.save(path / "samples" / f"predictions-{step:06d}.png")
    if accuracy is not None:
        test = {
            "trivial": {"accuracy": 0.1}, "untrained": {"accuracy": 0.12},
            "last": {"accuracy": accuracy - 0.01}, "best": {"accuracy": accuracy},
        }  # fmt: skip
        content = {
            "key_metric": "accuracy", "best": {"step": 20, "val": accuracy}, "test": test,
            "warnings": [], "comparison": None, "steps": 30, "seconds": 3.0, "seed": seed,
            "images_per_second": 100.0, "peak_memory_bytes": 2**28,
        }  # fmt: skip
        _json(path / "summary.json", content | summary)
    return path


def make_sweep(outputs: Path, name: str = "sizes") -> Path:
    """Two learning rates of three seeds, the first the better one."""
    sweep = outputs / "sweeps" / name
    for lr, base in ((0.1, 0.8), (0.01, 0.6)):
        for seed in range(3):
            make_run(sweep / f"{lr}-{seed}", base + seed / 100, lr=lr, seed=seed)
    return sweep


def _json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content))
