"""How long `dlrun ls` takes over 2,000 runs.

    python benchmarks/ls.py                  # about half a minute

Run folders as `dlrun train` leaves them (small files only), whole processes: CPU seconds, since a
shared machine takes none of them, the median of five and the fastest.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from dlrun.config.compose import compose_plain
from dlrun.runs.folder import RunFolder

RUNS, ROUNDS, BAR = 2000, 5, 1.0
METHODS = ("vae", "supervised", "byol", "siamese", "capsnet")
DLRUN = [sys.executable, "-m", "dlrun"]


def make(outputs: Path) -> None:
    configs = {name: compose_plain([f"method={name}"], None) for name in METHODS}
    test = {which: {f"metric_{i}": i / 7 for i in range(9)} for which in ("last", "best")}
    for number in range(RUNS):
        method = METHODS[number % len(METHODS)]
        path = outputs / "fashion_mini" / method / f"260101-{number:06d}-abcd"
        folder = RunFolder(path)
        folder.prepare({**configs[method], "seed": number})
        status = {
            "state": "completed", "step": 500, "total": 500, "started": 1.7e9, "heartbeat": 1.7e9,
            "pid": 1, "host": "elsewhere", "reason": "",
        }  # fmt: skip
        summary = {
            "method": method, "key_metric": "knn", "seconds": 60.0, "test": test,
            "best": {"step": 400, "val": number / RUNS},
        }  # fmt: skip
        folder.status.write_text(json.dumps(status))
        folder.summary.write_text(json.dumps(summary))
        folder.metrics.write_text('{"step": 20, "time": 1.0, "train/loss": 1.0}\n' * 100)


def whole(outputs: Path, *arguments: str) -> float:
    before = cpu_seconds()
    command = [*DLRUN, "ls", str(outputs), *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return cpu_seconds() - before


def cpu_seconds() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        outputs = Path(place) / "outputs"
        make(outputs)
        filtered, by_value = ["method=byol", "seed<500"], ["--sort", "val.best"]
        for arguments in ([], filtered, by_value, ["--json"], ["--csv"], ["--all"]):
            times = [whole(outputs, *arguments) for _ in range(ROUNDS)]
            name = " ".join(["ls", *arguments])
            median, least = statistics.median(times), min(times)
            print(f"{name:<28} {median:.2f} s, fastest {least:.2f} s  (bar {BAR})", flush=True)


if __name__ == "__main__":
    main()
