"""What a sweep gains, what it costs, and what it does where things go wrong.

    python benchmarks/sweep.py [speed] [cost] [killed] [hundred]    # all: about 15 minutes, two cores

speed    8 short jobs, 2 at a time, against the same commands one after the other   (bar: 1.6x)
cost     seconds that a sweep adds to a job beyond its training and its test        (bar: 1.5 s)
killed   kill -9 of the sweep at a random moment, then the same command again       (bar: the same table)
hundred  100 jobs of which 10 fail and 5 are killed                                 (bar: 85, 15 named, exit 1)
"""  # noqa: E501

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from troubled import COMMON, make_troubled

DLRUN = [sys.executable, "-m", "dlrun", "train"]
SHORT = ["method=vae", "method.likelihood_draws=0", "hardware=cpu"]


def run(folder: Path, *arguments: str) -> tuple[float, "subprocess.CompletedProcess[str]"]:
    """Seconds, and what came of it."""
    start = time.perf_counter()
    done = subprocess.run(
        [*DLRUN, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return time.perf_counter() - start, done


def rows(out: str) -> list[tuple[str, ...]]:
    """The final table: job, status, result."""
    lines = (line for line in out.splitlines() if line.startswith("│"))
    return [tuple(cell.strip() for cell in line.split("│")[1:4]) for line in lines]


def speed(folder: Path) -> None:
    run(folder, *SHORT, "steps=2")  # fills caches
    one_by_one = sum(run(folder, *SHORT, "epochs=8", f"seed={seed}")[0] for seed in range(8))
    together, done = run(folder, "-m", *SHORT, "epochs=8", "seed=range(8)", "sweep.jobs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    print(
        f"speed    one by one {one_by_one:.1f} s, 2 at a time {together:.1f} s: "
        f"{one_by_one / together:.2f}x  (bar 1.6)"
    )


def cost(folder: Path) -> None:
    run(folder, *SHORT, "steps=2")
    wall, done = run(folder, "-m", *SHORT, "epochs=1", "seed=range(8)", "sweep.jobs=1")
    assert done.returncode == 0, done.stdout + done.stderr
    own = 0.0
    for path in (folder / "outputs" / "sweeps").rglob("summary.json"):
        summary = json.loads(path.read_text())
        own += summary["seconds"] + summary["test_seconds"]
    print(f"cost     {(wall - own) / 8:.2f} s a job beyond its own {own / 8:.2f} s  (bar 1.5)")


def killed(folder: Path) -> None:
    make_troubled(folder)
    sweep = ["-m", *COMMON, "steps=40", "method.pause=0.05", "seed=range(4)", "sweep.jobs=2"]
    whole, undisturbed = run(folder, *sweep, "outputs=whole")
    kills = 0
    for _ in range(2):
        process = subprocess.Popen(
            [*DLRUN, *sweep], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(random.uniform(0.2, 0.8) * whole)
        kills += process.poll() is None
        process.kill()
        process.wait()
    out = run(folder, *sweep)[1].stdout
    same = rows(out) == rows(undisturbed.stdout)
    twice = 0
    for path in (folder / "outputs" / "sweeps").rglob("metrics.jsonl"):  # not the judge's
        steps = [json.loads(line) for line in path.read_text().splitlines()]
        logged = [row["step"] for row in steps if "train/loss" in row]
        twice += len(logged) - len(set(logged)) + (len(logged) != 40)
    print(
        f"killed   {kills} times; tables {'equal' if same else 'DIFFERENT'}; "
        f"{twice} steps doubled or lost"
    )


def hundred(folder: Path) -> None:
    make_troubled(folder)
    numbers = [*range(10), *range(10, 15), *range(20, 105)]
    given = f"method.number={','.join(str(number) for number in numbers)}"
    wall, done = run(folder, "-m", *COMMON, "steps=8", "method.mode=mixed", given)
    table = rows(done.stdout)
    states = [row[1] for row in table]
    reasons = [row[2] for row in table if row[1] != "completed"]
    print(
        f"hundred  {wall:.0f} s: {len(table)} jobs, {states.count('completed')} results, "
        f"{len([reason for reason in reasons if reason])} named "
        f"({', '.join(sorted({re.sub(r';.*', '', reason) for reason in reasons}))}), "
        f"exit code {done.returncode}"
    )


def main() -> None:
    os.environ.setdefault("DLRUN_DATA", tempfile.mkdtemp())
    for name in sys.argv[1:] or ("speed", "cost", "killed", "hundred"):
        with tempfile.TemporaryDirectory() as folder:
            globals()[name](Path(folder))


if __name__ == "__main__":
    main()
