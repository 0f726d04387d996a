"""A small project in a folder: a data set of a few real clothes, and runs of every method on it."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from forked import Forked
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

DATA_SOURCE = '''
from dlrun.data.sources.base import DataSource, Splits
from dlrun.data.sources.fashion_mini import FashionMini


class Few(DataSource):
    """The first images of the included data."""

    def load(self, config, data_dir):
        whole = FashionMini().load(config, data_dir)
        few = [table.subset(list(range({images}))) for table in (whole.train, whole.test)]
        return Splits(few[0], few[1], whole.class_names)
'''
COMMON = ["dataset=few", "log_every=3", "eval_every=7", "checkpoint_every=4", "batch_size=16"]
METHODS = {
    "supervised": ["method=supervised", "model=resnet8", "model.width=4", "method.dropout=0.2"],
    "multitask": [
        "method=multitask", "model=resnet8", "model.width=4", "bias=flip",
        "method.tasks=[flip,label]",
    ],
    "distill": [
        "method=distill", "model=resnet8", "model.width=4", "method.teacher=teacher", "loss=hint",
        "method.student_tap=stage2", "method.teacher_tap=stage2",
    ],
    "siamese": ["method=siamese", "model=resnet8", "model.width=4", "method.embedding=8"],
    "capsnet": [
        "method=capsnet", "model.channels=4", "model.types=2", "model.routing=2",
    ],
    "byol": [
        "method=byol", "model=resnet8", "model.width=4", "method.hidden=16", "method.projection=8",
    ],
    "autoencoder": ["method=autoencoder", "model.width=2", "model.hidden=16", "method.noise=0.1"],
    "vae": [
        "method=vae", "model.width=2", "model.hidden=16", "method.binarize=random",
        "method.warmup=0.5",
    ],
    "dbvae": [
        "method=dbvae", "model.width=2", "model.hidden=16", "method.latent=4",
        "dataset.positive=Sneaker",
    ],
    "cyclegan": [
        "method=cyclegan", "model.width=2", "model.blocks=1", "method.discriminator.width=2",
        "method.pool=6", "batch_size=3",
    ],
}  # fmt: skip


def make_project(folder: Path, images: int = 160) -> Path:
    """Writes the data set, of so many train and test images, and its config."""
    (folder / "conf" / "dataset").mkdir(parents=True)
    (folder / "few.py").write_text(DATA_SOURCE.replace("{images}", str(images)))
    (folder / "conf" / "dataset" / "few.yaml").write_text(
        "name: few:Few\nval_fraction: 0.2\ndomains: [Sneaker, Ankle boot]\npositive: null\n"
    )
    return folder


def train_teacher(project: Path) -> None:
    """A short supervised run that can be named `teacher`."""
    options = ["method=supervised", "model=resnet8", "model.width=6", "outputs=teachers"]
    process = start(project, "train", *COMMON, *options, "steps=4")
    assert process.wait(120) == 0, process.communicate()[0]
    (project / "teacher").symlink_to(only_run(project / "teachers"))


def command(method: str, *more: str) -> list[str]:
    """The arguments of `dlrun` for a short run of `method`."""
    return ["train", *COMMON, *METHODS[method], *more]


def start(project: Path, *arguments: str) -> Forked:
    """`dlrun ARGUMENTS` in the project, not waited for; standard error is in its output."""
    return Forked(arguments, project, {**os.environ, "OMP_NUM_THREADS": "1"})


def only_run(outputs: Path) -> Path:
    """The folder of the one run below `outputs`."""
    (config,) = outputs.rglob("config.yaml")
    return config.parent


def rows(run: Path) -> list[dict[str, float]]:
    """metrics.jsonl apart from its times."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "time"} for line in lines]


def tensorboard(run: Path) -> list[tuple[str, int, bytes]]:
    """Every value in the run's files for TensorBoard, apart from those of the clock, sorted."""
    found = [
        (value.tag, event.step, value.SerializeToString())
        for path in (run / "tensorboard").glob("events*")
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    ]
    return sorted(one for one in found if "second" not in one[0] and "hparams" not in one[0])


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Equal in structure and bit for bit; times, and which of two runs it was, may differ."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            if key not in ("seconds", "config", "command", "run"):
                assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where
