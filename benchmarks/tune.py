"""What pruning saves: studies of 40 short trials with it and without, drawn with the same seeds.

    python benchmarks/tune.py [TRIALS] [EPOCHS] [SEEDS] [PRUNER] [STUDIES]    # 40 40 5 hyperband 1

A perceptron of three widths on the clothes on board, learning rate over three decades, evaluated
after each epoch, two trials at a time on two cores. Bar: at most 60% of the time, the best value no
worse than noise, which is the standard deviation over training seeds of the best command's value.
Either study's best value has that noise, so a difference of two has 1.4 times as much; several
studies tell more than one. A pair of studies takes five minutes.

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


def study(
    folder: Path, seed: int, trials: int, epochs: int, pruner: str
) -> tuple[float, float, str]:
    """Seconds, the best value on val, and its command."""
    name = f"{pruner}{seed}"
    asked = [f"epochs={epochs}", f"tune.trials={trials}", f"tune.pruner={pruner}"]
    seconds, out = run(folder, "tune", *STUDY, *asked, f"tune.seed={seed}", f"name={name}")
    states = [
        json.loads(path.read_text())["state"]
        for path in (folder / "outputs" / "sweeps" / name).glob("*/status.json")
    ]
    best = re.search(r"^best: trial \d+, val accuracy (\S+)\n  dlrun (.*)$", out, re.MULTILINE)
    assert best is not None, out
    ended = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
    print(f"{name:<10} {seconds:.1f} s, best val accuracy {best[1]} ({ended})", flush=True)
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
    given = sys.argv[1:]
    trials, epochs, seeds = map(int, [*given[:3], *(40, 40, 5)[len(given[:3]) :]])
    pruner = given[3] if len(given) > 3 else "hyperband"
    studies = int(given[4]) if len(given) > 4 else 1
    os.environ.setdefault("DLRUN_DATA", tempfile.mkdtemp())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, "train", *STUDY[:2], "hardware=cpu", "steps=2", "outputs=first")  # fills caches
        times, gains, command = [], [], ""
        for seed in range(studies):
            whole, best, command = study(folder, seed, trials, epochs, "none")
            pruned, found, _ = study(folder, seed, trials, epochs, pruner)
            times.append(pruned / whole)
            gains.append(found - best)
        noise = f"{spread(folder, command, seeds):.4f}" if seeds > 1 else "not measured"
        print(
            f"with pruning {statistics.mean(times):.0%} of the time (bar 60%), best "
            f"{statistics.mean(gains):+.4f}: {', '.join(f'{gain:+.4f}' for gain in gains)} "
            f"(noise, the standard deviation over {seeds} seeds: {noise})"
        )


if __name__ == "__main__":
    main()
