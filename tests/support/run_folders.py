"""Run folders as training leaves them, made in a moment."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

CONFIG: dict[str, Any] = {
    "method.name": "supervised", "model.name": "cnn", "dataset.name": "fashion_mini",
    "optimizer.lr": 0.1, "seed": 0, "name": None, "outputs": "outputs",
}  # fmt: skip


def make_run(
    path: Path,
    accuracy: float | None = 0.5,
    *,
    state: str = "completed",
    reason: str = "",
    started: float = 1.7e9,
    steps: Sequence[int] = (10, 20, 30),
    total: int = 30,
    val: Sequence[float] | None = None,
    test: Mapping[str, float] | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
    lr: float = 0.1,
    pictures: bool = False,
    checkpoints: Sequence[str] = (),
    **summary: Any,
) -> Path:
    """A run whose summary and metrics.jsonl agree.

    Args:
        path: its folder, which is made.
        accuracy: of the best weights on the test split, .01 less of the last ones; None for a run
            without a summary.
        state: in status.json, as are `reason`, `started` and `total`.
        reason: see state.
        started: see state.
        steps: those at which it was evaluated.
        total: see state.
        val: accuracies on val at these steps; rising to `accuracy` unless given.
        test: more numbers on the test split, of both weights.
        config: keys such as method.name that differ from CONFIG.
        seed: in the config.
        lr: optimizer.lr in the config.
        pictures: whether there is one for each step.
        checkpoints: names of files in checkpoints/.
        summary: entries of summary.json.
    """
    path.mkdir(parents=True)
    flat = CONFIG | {"seed": seed, "optimizer.lr": lr} | dict(config or {})
    (path / "config.yaml").write_text(json.dumps(_nested(flat)))  # JSON is YAML
    (path / "command.txt").write_text("2026-01-02 03:04:05 dlrun train method=supervised\n")
    status = {
        "state": state, "step": steps[-1] if steps else 0, "total": total, "started": started,
        "heartbeat": time.time(), "pid": 1, "host": "elsewhere", "reason": reason,
    }  # fmt: skip
    write_json(path / "status.json", status)
    provenance = {
        "dlrun": "0.1.0", "python": "3.12", "packages": {"torch": "2.9"}, "hardware": "CPU",
        "data": {"checksum": "abc123"}, "git": {"commit": "f00d", "diff": ""},
    }  # fmt: skip
    write_json(path / "provenance.json", provenance)
    top = 0.5 if accuracy is None else accuracy
    reached = val or [top * number / len(steps) for number in range(1, len(steps) + 1)]
    lines = []
    for number, (step, value) in enumerate(zip(steps, reached, strict=True), 1):
        seconds = step / 10 + seed
        lines.append({"step": step, "time": seconds, "train/loss": 2.0 / number})
        lines.append({"step": step, "time": seconds, "val/accuracy": value})
        if pictures:
            (path / "samples").mkdir(exist_ok=True)
            picture = Image.new("RGB", (60, 30), (60 * number, 40 + seed, round(25 * lr)))
            picture.save(path / "samples" / f"predictions-{step:06d}.png")
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name in checkpoints:
        (path / "checkpoints").mkdir(exist_ok=True)
        (path / "checkpoints" / name).write_bytes(b"x" * 1000)
    if accuracy is not None:
        best = max(range(len(steps)), key=lambda i: reached[i])
        numbers = {
            "trivial": {"accuracy": 0.1}, "untrained": {"accuracy": 0.12},
            "last": {"accuracy": accuracy - 0.01, **(test or {})},
            "best": {"accuracy": accuracy, **(test or {})},
        }  # fmt: skip
        content = {
            "method": flat["method.name"], "dataset": flat["dataset.name"], "seed": seed,
            "key_metric": "accuracy", "best": {"step": steps[best], "val": reached[best]},
            "test": numbers, "warnings": [], "networks": None,
            "compared": {}, "steps": total, "seconds": 3.0,
            "test_seconds": 1.0, "images_per_second": 100.0, "peak_memory_bytes": 2**28,
        }  # fmt: skip
        write_json(path / "summary.json", content | summary)
    return path


def make_sweep(outputs: Path, name: str = "sizes", **options: Any) -> Path:
    """Two learning rates of three seeds, the first the better one."""
    sweep = outputs / "sweeps" / name
    for lr, base in ((0.1, 0.8), (0.01, 0.6)):
        for seed in range(3):
            make_run(sweep / f"{lr}-{seed}", base + seed / 100, lr=lr, seed=seed, **options)
    return sweep


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replaces the file."""
    path.write_text(json.dumps(content))


def change_json(path: Path, **entries: Any) -> None:
    """Changes entries of the file."""
    write_json(path, json.loads(path.read_text()) | entries)


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        inside = tree
        for section in sections:
            inside = inside.setdefault(section, {})
        inside[last] = value
    return tree
