"""Small runs for the verbs that come after the training, and images of every kind."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import SMALL, experiment
from PIL import Image

from dlrun.cli import run
from dlrun.config.typed import to_plain_types
from dlrun.evaluation.evaluate import evaluate
from dlrun.files import write_json
from dlrun.runs.folder import RunFolder
from dlrun.training import checkpoint
from dlrun.training.assemble import Experiment
from dlrun.training.final_test import inference_of
from dlrun.training.run import describe


@cache
def outputs() -> Path:
    """A folder of runs as `dlrun train` leaves them, with initial weights."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    for method in ("supervised", "vae", "cyclegan", "autoencoder"):
        save_run(folder, method)
    return folder


def call(*words: str) -> int:
    """`dlrun WORDS` on these runs, on the CPU."""
    return run([*words, "--outputs", str(outputs()), "--device", "cpu"])


def save_made(path: Path, made: Experiment, **more: Any) -> dict[str, Any]:
    """A checkpoint of the experiment as it is now; the file's content."""
    content = describe(to_plain_types(made.config), made)
    content |= {"step": 3, "val": {}, "val_step": 3, "method": made.method.state_dict(), **more}
    checkpoint.save(path, content)
    return content


def saved(path: Path, *overrides: str) -> tuple[Experiment, dict[str, Any]]:
    """A checkpoint with initial weights: the experiment, and the file's content."""
    made = experiment(*overrides)
    return made, save_made(path, made)


def save_run(outputs: Path, method: str, *overrides: str) -> RunFolder:
    """The folder of a complete run with initial weights."""
    made = experiment(*SMALL[method], *overrides)
    folder = RunFolder(outputs / "fashion_mini" / method / f"the-{method}")
    folder.prepare(to_plain_types(made.config))
    torch.manual_seed(0)
    val = evaluate(inference_of(made, made.method), "val", made.config.seed, full=False)
    for path in (folder.last, folder.best):
        save_made(path, made, step=5, val=val, val_step=5)
    status = {
        "state": "completed", "step": 5, "total": 5, "started": 0, "heartbeat": 0, "pid": 1,
        "host": "elsewhere", "reason": "",
    }  # fmt: skip
    write_json(folder.status, status)
    write_json(folder.summary, {"method": method})
    return folder


def wild(folder: Path) -> int:
    """Writes images as people have them: 7, of which two cannot be read. Returns 7."""
    (folder / "sub").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    image.save(folder / "a.jpg")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("P").save(folder / "palette.png")
    image.convert("RGBA").save(folder / "sub" / "alpha.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "sub" / "16.png")
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    (folder / "notes.txt").write_text("passed over")
    return 7
