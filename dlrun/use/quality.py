"""`dlrun evaluate RUN --quality`: how good the images are that a run generates.

They are compared with real ones in the feature space of a network: a small classifier of the data
set, which is trained once and shared by every run that needs it, or a file that the user has.
"""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlrun.config.compose import compose_plain, options
from dlrun.config.schema import TrainConfig, check
from dlrun.config.typed import to_plain_types
from dlrun.console import Console
from dlrun.data.open import open_dataset
from dlrun.data.table import DataSet, domain_rows
from dlrun.errors import UserError
from dlrun.evaluation.extractor import (
    Extractor,
    inception_extractor,
    random_extractor,
    trained_extractor,
)
from dlrun.evaluation.generated import FEWEST, Quality, generates
from dlrun.evaluation.inference import Inference
from dlrun.files import cache_folder, read_json, write_json
from dlrun.methods.abilities import Translates
from dlrun.runs.folder import RunFolder
from dlrun.runs.status import read_status
from dlrun.training import checkpoint
from dlrun.training.assemble import build_method
from dlrun.training.inputs import Inputs, trained_of
from dlrun.training.prerequisites import folder_of, train_shared
from dlrun.use.evaluation import autocast_of
from dlrun.use.load import Which, load
from dlrun.use.model import TrainedModel

FEATURES = "features"
"""The recipe of the feature network, and its role in its folder's name."""


def evaluate_quality(
    folder: RunFolder, features: str, samples: int, device: str, console: Console
) -> dict[str, Any]:
    """Measures KID, FID, precision and recall of a run, and writes them into its summary.json.

    The weights are the last ones, the best, and those before the training.

    Args:
        folder: of a complete run.
        features: auto, random, or the file of an Inception v3.
        samples: images that are generated, at most as many as the test split has.
        device: auto, cpu, cuda or mps.
        console: for people.

    Returns:
        The summary, now with `quality`.

    Raises:
        UserError: the run is not complete, generates no images, or the features cannot be had.
    """
    status = read_status(folder)
    if status is None or status.state != "completed":
        state = "has not begun" if status is None else f"is {status.state}"
        raise UserError(f"{folder}: {state}; --quality measures complete runs")
    config = check(folder.read_config())
    models = _models(folder, device)
    method = models["last"].method
    if not generates(method):
        raise UserError(
            f"{folder}: method {config.method.name} generates no images; --quality needs a method "
            "that samples, decodes or translates, such as vae, autoencoder or cyclegan"
        )
    data = open_dataset(config.dataset, config.data_dir, config.bias, config.groups)
    if min(len(data.train), len(data.test)) < FEWEST:
        raise UserError(f"{folder}: --quality needs {FEWEST} train and {FEWEST} test images")
    where = models["last"].device
    networks = _Networks(config, data, where, console)
    extractor = networks.of(features)
    domains = networks.domains() if isinstance(method, Translates) and features == "auto" else None
    quality = Quality(extractor, data, samples, config.seed, domains)
    numbers: dict[str, dict[str, float]] = {
        kind: quality.measure(kind, _inference(m, data)) for kind, m in models.items()
    }
    fresh = build_method(config, data, Inputs(folder, Path(config.outputs), {}), 1.0)[0]
    last = models["last"]
    untrained = Inference(
        fresh.to(where), data, last.scale, where, last.memory_format, _autocast(last)
    )
    numbers["untrained"] = quality.measure("untrained", untrained)
    return _written(folder, numbers, quality.report())


def _models(folder: RunFolder, device: str) -> dict[Which, TrainedModel]:
    """The last weights, and the best where they are others."""
    last = load(folder.path, "last", device=device)
    best = load(folder.path, "best", device=device)
    return {"last": last} if best.step == last.step else {"last": last, "best": best}


def _inference(model: TrainedModel, data: DataSet) -> Inference:
    return Inference(
        model.method, data, model.scale, model.device, model.memory_format, _autocast(model)
    )


def _autocast(model: TrainedModel) -> Callable[[], AbstractContextManager[object]]:
    return lambda: autocast_of(model)


def _written(
    folder: RunFolder, numbers: dict[str, dict[str, float]], report: dict[str, Any]
) -> dict[str, Any]:
    """Into the run's summary; best weights that are the last ones have their numbers too."""
    folder.lock()  # nobody resumes it at this moment
    try:
        summary = read_json(folder.summary)
        for kind, test in summary["test"].items():
            own = numbers.get(kind, numbers["last"] if kind == "best" else {})
            summary["test"][kind] = test | own
        summary["quality"] = report
        write_json(folder.summary, summary)
        return summary
    finally:
        folder.unlock()


class _Networks:
    """Finds, or trains, the networks whose features and classes are needed."""

    def __init__(
        self, config: TrainConfig, data: DataSet, device: torch.device, console: Console
    ) -> None:
        self.config, self.data, self.device, self.console = config, data, device, console

    def of(self, features: str) -> Extractor:
        """The network that `features` stands for."""
        if features not in ("auto", "random"):
            return self._of_file(features)
        needed = feature_config(self.config, len(self.data.train))
        if features == "auto" and self.data.train.labels is not None and self.data.num_classes > 1:
            return self._trained(needed)
        why = "as asked" if features == "random" else "these images have no classes"
        self._say(f"features of a random network, which tell less than learned ones ({why})")
        return random_extractor(needed.model, self.data, self.device)

    def domains(self) -> Extractor | None:
        """The classifier of a translation's two domains."""
        if self.config.bias.active and self.data.num_classes > 2:
            self._say("skipping the domain classifier: the bias covers all classes")
            return None
        return self._trained(domain_config(self.config, self.data), "domains-")

    def _trained(self, needed: TrainConfig, classes: str = "") -> Extractor:
        folder = folder_of(FEATURES, needed)
        # Trained on the run's hardware, which is no part of whose network it is.
        hardware = replace(
            self.config.hardware,
            precision=needed.hardware.precision,
            devices=1,
            sync_batchnorm=False,
        )
        train_shared(FEATURES, replace(needed, hardware=hardware), folder, self.console)
        best = folder.best if folder.best.exists() else folder.last
        content = checkpoint.load_own(folder, best) | {"is_file": False}
        return trained_extractor(
            trained_of(content, str(folder), {}), self.data, self.device, classes
        )

    def _of_file(self, given: str) -> Extractor:
        path = Path(given).expanduser()
        state = checkpoint.load_state_dict(path)
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return inception_extractor(state, digest, f"--features {given}", self.device)

    def _say(self, text: str) -> None:
        self.console.say(text)


def feature_config(config: TrainConfig, rows: int) -> TrainConfig:
    """Of the feature network for what `config` generates: a function of its images alone.

    It lies in the cache folder, for the runs of every outputs folder.

    `rows`: images of the train split, where there are fewer than a batch.
    """
    recipe = check(compose_plain([f"recipe={FEATURES}"]))
    return replace(
        recipe,
        dataset=config.dataset,
        bias=config.bias,
        outputs=str(cache_folder(config.data_dir) / "networks"),
        data_dir=config.data_dir,
        batch_size=min(recipe.batch_size, rows),
    )


def domain_config(config: TrainConfig, data: DataSet) -> TrainConfig:
    """Of the network that tells the two domains of `data` apart: class 0 is A.

    It has seen no other class. Where there is none, it is the feature network.
    """
    assert data.domains is not None
    rows = sum(map(len, domain_rows(data)))
    if data.domains == (0, 1) and data.num_classes == 2:
        return feature_config(config, rows)
    a, b = (data.class_names[domain] for domain in data.domains)
    whole = to_plain_types(config.dataset) | {"domains": None, "positive": None}
    both = options(
        "dataset", "two_domains", a=whole, b=whole, a_class=a, b_class=b,
        val_fraction=whole["val_fraction"],
    )  # fmt: skip
    return feature_config(replace(config, dataset=both), rows)
