"""`dlrun evaluate RUN --quality`: how good the images are that a run generates.

They are compared with real ones in the feature space of a network: a small classifier of the data
set, which is trained once and shared by every run that needs it, or a file of the user.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
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
from dlrun.files import cache_folder, expanded, write_json
from dlrun.methods.abilities import Translates
from dlrun.runs.folder import RunFolder
from dlrun.runs.run import Run
from dlrun.runs.status import read_status
from dlrun.training import checkpoint
from dlrun.training.assemble import build_method
from dlrun.training.inputs import Inputs, trained_of
from dlrun.training.prerequisites import folder_of, train_shared
from dlrun.use.data import difference
from dlrun.use.load import load

FEATURES = "features"
"""The recipe of the feature network, and its role in its folder's name."""


def evaluate_quality(
    folder: RunFolder, features: str, samples: int, device: str, console: Console
) -> dict[str, Any]:
    """Measures KID, FID, precision and recall of a run, and writes them into its summary.json.

    For the last weights, the best ones, and those before training.

    Args:
        folder: of a complete run.
        features: auto, random, or the file of an Inception v3.
        samples: images to generate, at most as many as the test split has.
        device: auto, cpu, cuda or mps.
        console: for people.

    Returns:
        The summary, now with `quality`.

    Raises:
        UserError: the run is not complete or generates no images, or there are no such features.
    """
    status = read_status(folder)
    if status is None or status.state != "completed":
        state = f"is {status.state}" if status else "has not started"
        raise UserError(f"{folder}: {state}; --quality measures complete runs")
    config = check(folder.read_config())
    last = load(folder.path, "last", device=device)
    if not generates(last.method):
        raise UserError(
            f"{folder}: method {config.method.name} generates no images; --quality needs a method "
            "that samples, decodes or translates, such as vae, autoencoder or cyclegan"
        )
    data = open_dataset(config.dataset, config.data_dir, config.bias, config.groups)
    if changed := difference(last.info, data):
        raise UserError(
            f"{folder}: dataset={data.name} is not the data that it was trained on ({changed})"
        )
    if min(len(data.train), len(data.test)) < FEWEST:
        raise UserError(f"{folder}: --quality needs {FEWEST} train and {FEWEST} test images")
    networks = _Networks(config, data, last.device, console)
    extractor = networks.features(features)
    has_domains = isinstance(last.method, Translates) and features == "auto"
    domains = networks.domains() if has_domains else None
    quality = Quality(extractor, data, samples, config.seed, domains)
    trained = last.inference(data)
    numbers = {"last": quality.measure("last", trained)}
    best = load(folder.path, "best", device=device)
    is_other = best.step != last.step
    numbers["best"] = quality.measure("best", best.inference(data)) if is_other else numbers["last"]
    fresh = build_method(config, data, Inputs(folder, Path(config.outputs), {}), 1.0)[0]
    untrained = replace(trained, method=fresh.to(last.device))
    numbers["untrained"] = quality.measure("untrained", untrained)
    folder.lock()  # nobody resumes it at this moment
    try:
        summary = Run(folder.path).summary
        if "test" not in summary:
            raise UserError(f"{folder.summary}: has no numbers of the test split to add to")
        for kind in summary["test"]:
            summary["test"][kind] |= numbers.get(kind, {})
        summary["quality"] = quality.report()
        write_json(folder.summary, summary)
        return summary
    finally:
        folder.unlock()


@dataclass
class _Networks:
    """Finds, or trains, the networks whose features and classes are needed."""

    config: TrainConfig
    data: DataSet
    device: torch.device
    console: Console

    def features(self, given: str) -> Extractor:
        """Of auto, random or a file."""
        if given not in ("auto", "random"):
            path = Path(expanded(given))
            state = checkpoint.load_state_dict(path)
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return inception_extractor(state, digest, f"--features {given}", self.device)
        needed = feature_config(self.config, len(self.data.train))
        if given == "auto" and self.data.train.labels is not None and self.data.num_classes > 1:
            return self._trained(needed)
        why = "as asked" if given == "random" else "these images have no classes"
        self.console.say(f"features of a random network, which tell less than learned ones ({why})")
        return random_extractor(needed.model, self.data, self.device)

    def domains(self) -> Extractor | None:
        """The classifier of a translation's two domains."""
        if self.config.bias.active and self.data.num_classes > 2:
            self.console.say("skipping the domain classifier: the bias covers all classes")
            return None
        return self._trained(domain_config(self.config, self.data), "domains-")

    def _trained(self, needed: TrainConfig, classes: str = "") -> Extractor:
        folder = folder_of(FEATURES, needed)
        # Trained on the run's hardware, which does not change what the network is.
        hardware = replace(
            self.config.hardware,
            precision=needed.hardware.precision,
            devices=1,
            sync_batchnorm=False,
        )
        train_shared(FEATURES, replace(needed, hardware=hardware), folder, self.console)
        best = folder.best if folder.best.exists() else folder.last
        content = checkpoint.load_own(folder, best) | {"is_file": False}
        trained = trained_of(content, str(folder), {})
        assert trained.info is not None
        same = needed.dataset == self.config.dataset
        if same and (changed := difference(trained.info, self.data)):
            raise UserError(
                f"{FEATURES}: {folder} was trained on other data ({changed}); delete it, and it is "
                f"trained anew: dlrun rm {folder}"
            )
        return trained_extractor(trained, self.data, self.device, classes)


@cache
def _recipe() -> TrainConfig:
    return check(compose_plain([f"recipe={FEATURES}"]))


def feature_config(config: TrainConfig, rows: int) -> TrainConfig:
    """Of the feature network for what `config` generates; depends on its images alone.

    Its folder is in the cache, shared by the runs of every outputs folder.

    Args:
        config: of the run.
        rows: images of the train split, which may be fewer than a batch.
    """
    recipe = _recipe()
    return replace(
        recipe,
        dataset=config.dataset,
        bias=config.bias,
        outputs=str(cache_folder(config.data_dir) / "networks"),
        data_dir=config.data_dir,
        batch_size=min(recipe.batch_size, rows),
    )


def domain_config(config: TrainConfig, data: DataSet) -> TrainConfig:
    """Of the network that classifies the two domains of `data`, class 0 being A.

    It sees no other class. If the data set has no other, it is the feature network.
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
