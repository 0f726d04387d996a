"""A project whose jobs are small, and fail, die or take their time when they are told to."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "resume"))
from project import make_project, start

__all__ = ["COMMON", "make_troubled", "start"]

COMMON = [
    "dataset=few", "method=trouble", "model=mlp_autoencoder", "model.hidden=[4]", "batch_size=16",
    "log_every=1", "eval_every=4", "checkpoint_every=2", "hardware=cpu", "method.latent=2",
]  # fmt: skip

METHOD = '''

import os
import signal
import time
from dataclasses import dataclass

from dlrun.methods.vae import VAE


class Trouble(VAE):
    """A VAE that goes wrong after its third step, in the way that it is told."""

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
            raise RuntimeError("as it was told")
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
