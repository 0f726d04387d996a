"""What pruning saves: a study of 40 short trials with it and without, drawn with the same seed.

    python benchmarks/tune.py [TRIALS] [EPOCHS] [SEEDS] [PRUNER]    # 40 40 5 hyperband: 12 minutes

A perceptron of three widths on the clothes on board, learning rate over three decades, evaluated
after each epoch, two trials at a time on two cores. Bar: at most 60% of the time, the best value no
worse than noise, which is the standard deviation over training seeds of the best command's value.

A trial's start and its test are what no pruner saves: a training has to be longer than that to
tell anything, and still is one of some ten seconds.
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
    print(f"{pruner:<9} {seconds:.1f} s, best val accuracy {best[1]} ({told})", flush=True)
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
    trials, epochs, seeds = map(int, [*sys.argv[1:4], *(40, 40, 5)[len(sys.argv[1:4]) :]])
    pruner = sys.argv[4] if len(sys.argv) > 4 else "hyperband"
    os.environ.setdefault("DLRUN_DATA", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "train", *STUDY[:2], "hardware=cpu", "steps=2", "outputs=first")  # fills caches
        whole, best, command = study(folder, trials, epochs, "none")
        pruned, found, _ = study(folder, trials, epochs, pruner)
        noise = f"{spread(folder, command, seeds):.4f}" if seeds > 1 else "not measured"
        print(
            f"with pruning {pruned / whole:.0%} of the time (bar 60%), best {found - best:+.4f} "
            f"(noise, the standard deviation over {seeds} seeds: {noise})"
        )


if __name__ == "__main__":
    main()
