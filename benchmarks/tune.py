"""What pruning saves: a study of 40 short trials with it and without, drawn with the same seed.

    python benchmarks/tune.py [TRIALS] [EPOCHS] [SEEDS]     # 40, 10, 1: about 10 minutes, two cores

A perceptron of three widths on the clothes on board, learning rate over three decades, evaluated
after each epoch, two trials at a time. Bar: at most 60% of the time, the best value no worse than
noise: the standard deviation over training seeds of the best command's value, where SEEDS > 1.
"""

import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DLRUN = [sys.executable, "-m", "dlrun"]
STUDY = [
    "method=supervised", "model=mlp", "optimizer.lr=interval(1e-3,1)",
    "optimizer.weight_decay=interval(1e-5,1e-2)", "model.hidden=[64],[256],[256,256]",
    "eval_every=1 epochs", "batch_size=32", "hardware=cpu", "hardware.threads=1", "sweep.jobs=2",
]  # fmt: skip


def run(folder: Path, *arguments: str) -> tuple[float, str]:
    """Seconds, and what was printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [*DLRUN, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return time.perf_counter() - start, done.stdout


def study(folder: Path, trials: int, epochs: int, pruner: str) -> tuple[float, float, str]:
    """Seconds, the best value on val, and its command."""
    asked = [f"epochs={epochs}", f"tune.trials={trials}", f"tune.pruner={pruner}"]
    seconds, out = run(folder, "tune", *STUDY, *asked, f"name={pruner}")
    states = [
        json.loads(path.read_text())["state"]
        for path in (folder / "outputs" / "sweeps" / pruner).glob("*/status.json")
    ]
    best = re.search(r"^best: trial \d+, val accuracy (\S+)\n  dlrun (.*)$", out, re.MULTILINE)
    assert best is not None, out
    told = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    print(f"{pruner:<7} {seconds:.1f} s, best val accuracy {best[1]} ({told})", flush=True)
    return seconds, float(best[1]), best[2]


def spread(folder: Path, command: str, seeds: int) -> float:
    """Standard deviation of the best value on val over training seeds."""
    values = []
    for seed in range(seeds):
        run(folder, *shlex.split(command), f"seed={seed}", f"outputs=seeds/{seed}")
        (summary,) = (folder / "seeds" / str(seed)).rglob("summary.json")
        values.append(json.loads(summary.read_text())["best"]["val"])
    return statistics.stdev(values)


def main() -> None:
    numbers = [int(text) for text in sys.argv[1:]]
    trials, epochs, seeds = [*numbers, *(40, 10, 1)[len(numbers) :]]
    os.environ.setdefault("DLRUN_DATA", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "train", *STUDY[:2], "hardware=cpu", "steps=2", "outputs=first")  # fills caches
        whole, best, command = study(folder, trials, epochs, "none")
        pruned, found, _ = study(folder, trials, epochs, "median")
        line = f"with pruning {pruned / whole:.0%} of the time (bar 60%), best {found - best:+.4f}"
        if seeds > 1:
            line += f", standard deviation over seeds {spread(folder, command, seeds):.4f}"
        print(line)


if __name__ == "__main__":
    main()
