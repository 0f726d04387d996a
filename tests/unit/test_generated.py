"""The quality of generated images: what is compared with what, by which network, repeatably."""

import io
from dataclasses import replace

import pytest
import torch
from harness import config_of
from parts import CPU, data_of, inference_on
from torch import Tensor, nn

from dlrun.console import Console
from dlrun.data.open import open_dataset
from dlrun.data.table import DataSet, PixelScale, Table, domain_rows
from dlrun.evaluation.extractor import Extractor, digest_of, random_extractor
from dlrun.evaluation.fidelity import frechet_distance, kernel_distance
from dlrun.evaluation.generated import Quality, as_bytes, generates
from dlrun.evaluation.metrics import describe
from dlrun.methods.base import Method
from dlrun.use.quality import domain_config, feature_config
from dlrun.views.summary import print_quality


def table(n: int, seed: int) -> Table:
    """Class 0 is dark and class 1 is bright."""
    chance = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 2
    grey = torch.randint(0, 100, (n, 1, 4, 4), generator=chance) + 150 * label[:, None, None, None]
    return Table(grey.byte(), label)


def data(train: int = 60, test: int = 50) -> DataSet:
    splits = (table(train, 0), table(0, 1), table(test, 2))
    return data_of(*splits, name="few:Few", class_names=("dark", "bright"))


class Rows(nn.Module):
    """Four numbers of an image: the mean of each row."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(1, 3))


class Bright(nn.Module):
    """Class 1 above a half."""

    def forward(self, features: Tensor) -> Tensor:
        level = features.mean(1)
        return torch.stack([torch.full_like(level, 0.5), level], 1)


def extractor(name: str = "x@1") -> Extractor:
    unit = PixelScale(torch.zeros(1), torch.ones(1))
    return Extractor(name, "1", "a test", Rows(), Bright(), unit, CPU.device)


class Noise(Method):
    """Draws noise of that brightness."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def sample(self, n: int) -> Tensor:
        return torch.rand(n, 1, 4, 4) * self.level


class Lightens(Method):
    def translate(self, image: Tensor, direction: str) -> Tensor:
        shift = 150 / 255 if direction == "a_to_b" else -150 / 255
        return image + shift


def test_samples_are_held_against_as_many_test_images() -> None:
    held = data()
    quality = Quality(extractor(), held, samples=40, seed=3)
    numbers = quality.measure("last", inference_on(Noise(0.2), held))
    assert set(numbers) == {f"{name}[x@1]/prior" for name in ("kid", "fid", "precision", "recall")}
    found = quality.report()["sets"]["samples"]
    assert (found["images"], found["real"]) == (40, 40)
    rows = found["rows"]
    assert list(rows) == ["real", "ceiling", "last, prior"]
    assert abs(rows["real"]["kid[x@1]"]["value"]) < rows["last, prior"]["kid[x@1]"]["value"]
    assert rows["last, prior"]["fid[x@1]"]["value"] == numbers["fid[x@1]/prior"]
    assert rows["last, prior"]["kid[x@1]"]["error"] > 0


def test_the_seed_decides_what_is_drawn_and_not_the_real_images() -> None:
    held, method = data(), Noise(0.5)
    found, rows = [], []
    for seed in (0, 0, 1):
        torch.rand(seed + 3)  # whatever else has drawn
        quality = Quality(extractor(), held, 30, seed)
        found.append(quality.measure("last", inference_on(method, held)))
        rows.append(quality.report()["sets"]["samples"]["rows"])
    assert found[0] == found[1] != found[2]
    assert rows[0]["real"] == rows[2]["real"] and rows[0]["ceiling"] == rows[2]["ceiling"]


def test_translations_are_held_against_the_other_domain_of_test() -> None:
    held = data()
    quality = Quality(extractor(), held, 1000, 0, extractor("two@2"))
    numbers = quality.measure("last", inference_on(Lightens(), held))
    test, label = held.test.images, held.test.labels
    assert label is not None
    moved = test[label == 0].int() + 150
    x, y = (extractor().features(images.byte()) for images in (moved, test[label == 1]))
    assert numbers["kid[x@1]/a_to_b"] == pytest.approx(kernel_distance(x, y).value, rel=1e-9)
    assert numbers["fid[x@1]/a_to_b"] == pytest.approx(frechet_distance(x, y), rel=1e-6)
    assert numbers["taken[two@2]/a_to_b"] == numbers["taken[two@2]/b_to_a"] == 1
    rows = quality.report()["sets"]["b_to_a"]["rows"]
    assert rows["ceiling"]["taken[two@2]"]["value"] == 0
    assert rows["real"]["taken[two@2]"]["value"] == 1
    assert rows["ceiling"]["kid[x@1]"]["value"] > 10 * abs(rows["last"]["kid[x@1]"]["value"])


def test_too_few_images_are_reported() -> None:
    held = data()
    quality = Quality(extractor(), held, 20, 0)
    quality.measure("last", inference_on(Noise(1.0), held))
    assert quality.report()["warnings"] == [
        "FID of 20 images with 4 features is biased upwards (it needs 40 images); KID is not"
    ]
    few = data(train=18, test=14)
    quality = Quality(extractor(), few, 100, 0)
    assert quality.measure("last", inference_on(Lightens(), few)) == {}
    assert quality.report()["warnings"][0].startswith("a_to_b: 7 images are too few")


def test_images_are_rounded_as_a_file_would_hold_them() -> None:
    unit = torch.tensor([-0.2, 0.0, 0.5, 0.999, 1.3]).view(1, 1, 1, 5)
    assert as_bytes(unit).flatten().tolist() == [0, 0, 128, 255, 255]


def test_who_generates() -> None:
    assert generates(Noise(1.0))
    assert generates(Lightens())
    assert not generates(Method())


# --- which network measures ---------------------------------------------------------------------


def test_one_network_for_all_runs_on_a_data_set() -> None:
    one = feature_config(config_of("seed=3", "epochs=2", "hardware=cpu", "loss=mse"), 3600)
    other = feature_config(
        config_of("method=cyclegan", "optimizer.lr=1", "outputs=elsewhere"), 3600
    )
    assert one == other
    assert (one.method.name, one.model.name, one.seed) == ("supervised", "cnn", 0)
    assert feature_config(config_of("dataset=mnist"), 3600) != one
    assert feature_config(config_of("bias=colour"), 3600) != one  # other images
    assert feature_config(config_of(), 20).batch_size == 20


SHOES = "dataset.domains=[Sneaker,'Ankle boot']"


def test_the_domain_classifier_sees_two_classes_and_no_other() -> None:
    run = config_of("method=cyclegan", SHOES)
    held = open_dataset(run.dataset, None)
    needed = domain_config(run, held)
    assert (needed.method.name, needed.model.name) == ("supervised", "cnn")
    seen = open_dataset(needed.dataset, None)
    assert seen.class_names == ("Sneaker", "Ankle boot")
    assert torch.equal(
        seen.test.images[seen.test.labels == 1],
        held.test.images[domain_rows(held, "test")[1]],
    )
    assert seen.image_shape == held.image_shape
    assert len(seen.train) == sum(map(len, domain_rows(held)))  # so that a batch can be filled
    assert needed == domain_config(config_of("method=cyclegan", SHOES, "seed=3"), held)
    assert needed != domain_config(run, replace(held, domains=held.domains[::-1]))  # type: ignore


def test_of_two_classes_the_feature_network_is_the_domain_classifier() -> None:
    run, held = config_of("method=cyclegan", SHOES), data()
    assert domain_config(run, held) == feature_config(run, len(held.train))
    turned = domain_config(run, replace(held, domains=(1, 0))).dataset.options
    assert (turned.a_class, turned.b_class) == ("bright", "dark")


def test_random_features_are_called_so_and_are_the_same_every_time() -> None:
    held = data()
    model = feature_config(config_of(), 60).model
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(random_extractor(model, held, CPU.device))
    assert found[0].name == found[1].name
    assert found[0].name.startswith("few.Few-random64@")
    features = found[0].features(held.train.images)
    assert torch.equal(features, found[1].features(held.train.images))
    assert features.square().mean() == pytest.approx(1, rel=1e-6)
    assert found[0].head is None


def test_the_digest_is_of_names_and_weights() -> None:
    state = {"a": torch.ones(2), "b": torch.zeros(2)}
    assert digest_of(state) == digest_of(dict(reversed(state.items())))
    assert digest_of(state) != digest_of({"a": torch.ones(2), "c": torch.zeros(2)})
    assert digest_of(state) != digest_of({**state, "a": torch.ones(2) + 1e-6})


# --- what is shown -------------------------------------------------------------------------------


def test_the_tables_fit_80_columns() -> None:
    held = data()
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
    for method in (Noise(1.0), Lightens()):
        features, domains = extractor("few-cnn64@1a2b3c"), extractor("few-domains-cnn64@4d5e6f")
        quality = Quality(features, held, 40, 0, domains)
        for kind in ("untrained", "last", "best"):
            quality.measure(kind, inference_on(method, held))
        print_quality(quality.report(), console)
    lines = console.export_text().splitlines()
    flat = " ".join(" ".join(lines).split())
    assert "features: few-cnn64@1a2b3c" in flat and "translated A to B" in flat
    assert "by few-domains-cnn64@4d5e6f, a classifier of the two" in flat
    assert max(map(len, lines)) <= 80
    assert {"real", "noise", "as it is", "untrained, prior", "last, prior", "best"} <= {
        line[:20].strip().split("  ")[0] for line in lines
    }


def test_a_metric_names_its_features() -> None:
    metric = describe("kid[few-cnn64@1a2b3c]/prior")
    assert (metric.label, metric.higher_is_better) == ("kid[few-cnn64@1a2b3c]/prior", False)
    assert describe("precision[x]/a_to_b").higher_is_better
