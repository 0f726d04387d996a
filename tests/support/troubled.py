"""A project whose jobs are small, and fail, die or take their time if asked to."""

import json
import time
from pathlib import Path

from forked import Forked
from project import make_project, start

COMMON = [
    "dataset=few", "method=trouble", "model=mlp_autoencoder", "model.hidden=[4]", "batch_size=16",
    "log_every=1", "eval_every=4", "checkpoint_every=2", "hardware=cpu", "method.latent=2",
]  # fmt: skip
SLOW = [*COMMON, "method.pause=0.2"]
TWO_PROCESSES = [
    "hardware=ddp", "hardware.devices=2", "hardware.device=cpu", "hardware.precision=fp32",
]  # fmt: skip

METHOD = '''

import os
import signal
import time
from dataclasses import dataclass

from dlrun.methods.vae import VAE


class Trouble(VAE):
    """A VAE that goes wrong after its third step, in the given way."""

    @dataclass(frozen=True)
    class Config(VAE.Config):
        mode: str
        pause: float
        number: int

    def step(self, batch, update):
        time.sleep(self.config.pause)
        mode = self.config.mode
        if mode == "mixed":
            mode = {0: "raise", 1: "kill"}.get(self.config.number // 10, "fine")
        if update.step == 3 and mode == "raise":
            raise RuntimeError("as it was asked to")
        if update.step == 3 and mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if update.step == 3 and mode == "lost" and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(batch, update)
'''

CONFIG = """\
# @package _global_
defaults:
  - vae
  - _self_

method:
  name: few:Trouble
  mode: fine
  pause: 0.0
  number: 0
"""


def make_troubled(folder: Path) -> Path:
    """Writes it."""
    project = make_project(folder)
    with open(project / "few.py", "a") as file:
        file.write(METHOD)
    (project / "conf" / "method").mkdir()
    (project / "conf" / "method" / "trouble.yaml").write_text(CONFIG)
    return project


def begin(project: Path, *overrides: str) -> Forked:
    return start(project, "train", "-m", *overrides)


def output(process: Forked) -> str:
    return str(process.communicate(timeout=240)[0])


def jobs(project: Path) -> list[Path]:
    """Their folders, links to another sweep's left out."""
    found = (path.parent for path in (project / "outputs").rglob("job.json"))
    return sorted(path for path in found if not path.is_symlink())


def steps(job: Path) -> list[int]:
    rows = [json.loads(line) for line in (job / "metrics.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "train/loss" in row]


def starts(job: Path) -> int:
    return len((job / "command.txt").read_text().splitlines())


def state(job: Path) -> str:
    return str(json.loads((job / "status.json").read_text())["state"])


def wait_for_steps(project: Path, process: Forked, count: int, most: int, least: int = 3) -> None:
    """Until `count` jobs have logged `least` lines; none of them may have come to `most`."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        logged = [path.read_text().count("\n") for path in project.rglob("metrics.jsonl")]
        if sum(number >= least for number in logged) >= count:
            assert max(logged) < most
            return
        assert process.poll() is None, output(process)
        time.sleep(0.01)
    raise AssertionError("no steps within two minutes")
