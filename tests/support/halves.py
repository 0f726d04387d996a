"""A tiny training on a folder of images, which ends in its middle."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlrun.cli import run
from dlrun.errors import Interrupted
from dlrun.training.loop import Loop

OPTIONS = [
    "method=supervised", "model=mlp", "model.hidden=[4]", "dataset=image_folder", "dataset.root=d",
    "dataset.size=8", "batch_size=4", "epochs=3", "schedule=cosine", "hardware.threads=1",
    "log_every=1", "eval_every=4",
]  # fmt: skip
TOTAL = 15
"""Its optimizer steps."""


def images(folder: Path) -> None:
    """Writes 28 images of 8 x 8 in `d/a` and `d/b`."""
    pixels = np.random.default_rng(0).integers(0, 255, (28, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        path = folder / "d" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def train_until(step: int, error: BaseException | None = None, *more: str) -> Path:
    """A run that is asked to stop at this step, or that meets an error; its folder, the newest."""
    after = Loop._after_step

    def disturbed(self: Loop) -> None:
        after(self)
        if self.progress.step == step:
            if error is not None:
                raise error
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_after_step", disturbed)
        with pytest.raises(Interrupted if error is None else type(error)):
            run(["train", *OPTIONS, *more])
    return max(Path("outputs").rglob("config.yaml"), key=lambda path: path.stat().st_mtime).parent
