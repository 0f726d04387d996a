"""Small runs for the verbs that come after the training, and images of every kind."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from harness import SMALL, experiment
from PIL import Image

from dlrun.config.typed import to_plain_types
from dlrun.evaluation.evaluate import evaluate
from dlrun.files import write_json
from dlrun.runs.folder import RunFolder
from dlrun.training import checkpoint
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


def save_run(outputs: Path, method: str, *overrides: str) -> RunFolder:
    made = experiment(*SMALL[method], *overrides)
    plain = to_plain_types(made.config)
    folder = RunFolder(outputs / "fashion_mini" / method / f"the-{method}")
    folder.prepare(plain)
    torch.manual_seed(0)
    val = evaluate(inference_of(made, made.method), "val", made.config.seed, full=False)
    content = describe(plain, made) | {"step": 5, "val": val, "val_step": 5}
    content["method"] = made.method.state_dict()
    checkpoint.save(folder.last, content)
    checkpoint.save(folder.best, content)
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
