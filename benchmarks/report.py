"""The report of a sweep of 50 runs: seconds to make, size, seconds until it can be used.

    python benchmarks/report.py              # about two minutes on two cores

The run folders are made here, as large as real ones: 2,000 lines of metrics and 10 pictures each,
of grainy random images, which are the hardest to compress. The browser is a headless Chromium,
where there is one; usable is when the page has loaded and the curves are drawn.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

RUNS, LINES, PICTURES, SEEDS = 50, 2000, 10, 5
ROUNDS = 3
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
CONFIG = """\
method: {{name: supervised}}
model: {{name: resnet20, width: {width}}}
dataset: {{name: cifar10}}
optimizer: {{name: sgd, lr: 0.1}}
seed: {seed}
"""


def make_run(path: Path, number: int) -> None:
    noise = np.random.default_rng(number)
    (path / "samples").mkdir(parents=True)
    width, seed = number // SEEDS, number % SEEDS
    (path / "config.yaml").write_text(CONFIG.format(width=width, seed=seed))
    (path / "command.txt").write_text("2026-01-02 03:04:05 dlrun train -m seed=range(5)\n")
    status = {"state": "completed", "step": LINES, "total": LINES, "started": 0.0,
              "heartbeat": 0.0, "pid": 1, "host": "elsewhere", "reason": ""}  # fmt: skip
    (path / "status.json").write_text(json.dumps(status))
    names = ("loss", "accuracy", "agreement", "hard", "soft", "lr")
    with open(path / "metrics.jsonl", "w") as file:
        for step in range(1, LINES + 1):
            split = "val" if step % 10 == 0 else "train"
            values = {f"{split}/{name}": float(noise.random()) for name in names}
            file.write(json.dumps({"step": step, "time": step / 7, **values}) + "\n")
    for index in range(PICTURES):
        kind = "predictions" if index % 2 else "views"
        _picture(noise).save(path / "samples" / f"{kind}-{index * 200:06d}.png")
    test = {"accuracy": 0.9 - width / 100 + seed / 1000, "loss": 0.5, "knn": 0.8}
    summary = {
        "key_metric": "accuracy", "best": {"step": 1000, "val": test["accuracy"]}, "warnings": [],
        "comparison": None, "steps": LINES, "seconds": 300.0, "images_per_second": 900.0,
        "test": dict.fromkeys(("trivial", "untrained", "last", "best"), test),
    }  # fmt: skip
    (path / "summary.json").write_text(json.dumps(summary))


def _picture(noise: np.random.Generator) -> Image.Image:
    """Twelve by ten images of 32 x 32, smooth as photographs are and grainy, each pixel doubled."""
    grid = noise.integers(0, 256, (80, 96, 3), dtype=np.uint8)
    smooth = Image.fromarray(grid).resize((384, 320), Image.Resampling.BICUBIC)
    grain = noise.integers(-12, 13, (320, 384, 3))
    grainy = Image.fromarray((np.array(smooth) + grain).clip(0, 255).astype(np.uint8))
    return grainy.resize((768, 640), Image.Resampling.NEAREST)


def usable(path: Path) -> tuple[float, float]:
    """Seconds until loaded, and until the curves in view are drawn."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*QUIET, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        driver = webdriver.Chrome(options=options, service=service)
        driver.set_window_size(1280, 900)
        driver.get("about:blank")
        start = time.perf_counter()
        driver.get(path.as_uri())
        loaded = time.perf_counter() - start
        driver.execute_script("document.getElementById('curves').scrollIntoView()")
        while not driver.execute_script("return document.querySelector('.chart svg')"):
            time.sleep(0.01)
        drawn = time.perf_counter() - start
        driver.quit()
    return loaded, drawn


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep"
        for number in range(RUNS):
            make_run(sweep / f"run{number:02d}", number)
        out = Path(folder) / "report.html"
        command = [sys.executable, "-m", "dlrun", "report", str(sweep), "--out", str(out)]
        seconds = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
        print(f"to make   {statistics.median(seconds):6.2f} s   (bar 15)")
        print(f"size      {os.path.getsize(out) / 1e6:6.2f} MB  (bar 8)")
        if not (shutil.which("chromium") and shutil.which("chromedriver")):
            print("usable    not measured: no chromium and chromedriver here")
            return
        times = [usable(out) for _ in range(ROUNDS)]
        print(f"loaded    {statistics.median(t[0] for t in times):6.2f} s")
        print(f"usable    {statistics.median(t[1] for t in times):6.2f} s   (bar 2)")


if __name__ == "__main__":
    main()
