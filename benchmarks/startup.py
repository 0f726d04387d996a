"""How long a person waits before anything happens.

    python benchmarks/startup.py             # about two minutes on two cores

Whole processes, the median of five, after one that fills the file cache.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
COMMANDS = {
    "dlrun --help": (["--help"], 0.15),
    "dlrun train --cfg job": (["train", "--cfg", "job"], 0.6),
    "a wrong key": (["train", "epoch=3"], 0.6),
    "a wrong value": (["train", "epochs=many"], 0.6),
    "a wrong option": (["train", "method=byoll"], 0.6),
}


def whole(arguments: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run([*DLRUN, *arguments], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


def first_step(folder: str) -> float:
    """Until the first line of metrics.jsonl, which one step on the data on board writes."""
    outputs = tempfile.mkdtemp(dir=folder)
    start = time.perf_counter()
    process = subprocess.Popen(
        [*DLRUN, "train", "log_every=1", f"outputs={outputs}"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while True:
        found = list(Path(outputs).rglob("metrics.jsonl"))
        if found and found[0].stat().st_size:
            break
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    process.kill()
    process.wait()
    return seconds


os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's second start has its bytecode
DLRUN = [str(Path(sys.executable).with_name("dlrun"))]
if not os.path.exists(DLRUN[0]):
    DLRUN = [sys.executable, "-m", "dlrun"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, (arguments, bar) in COMMANDS.items():
            whole(arguments, folder)
            times = [whole(arguments, folder) for _ in range(ROUNDS)]
            print(f"{name:<24} {statistics.median(times):.3f} s  (bar {bar})", flush=True)
        first_step(folder)
        times = [first_step(folder) for _ in range(ROUNDS)]
        print(f"{'start to first step':<24} {statistics.median(times):.2f} s  (bar 4)")


if __name__ == "__main__":
    main()
