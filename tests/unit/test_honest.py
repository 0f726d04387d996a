"""What is shown as a result: samples, small and large sets, and numbers that are too good."""

import warnings
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import harness
import pytest
import torch
from parts import config_of, data_of, inference_on
from torch import Tensor

from dlrun.data.table import Table, some_rows
from dlrun.errors import RunFailed, UserError
from dlrun.evaluation import baselines
from dlrun.evaluation.baselines import too_large, trivial
from dlrun.evaluation.evaluate import evaluate
from dlrun.evaluation.inference import batch_of
from dlrun.evaluation.mixture import codes_mixture
from dlrun.methods.base import Method
from dlrun.registry import lookup
from dlrun.training.assemble import _unmirrored
from dlrun.training.final_test import _far_from_val
from dlrun.training.loop import Loop, Progress, before_epoch, take_step
from dlrun.training.preflight import check_labels, check_processes
from dlrun.training.ranks import Ranks
from dlrun.training.schedules import rate_factor


def table(labels: list[int], side: int = 4) -> Table:
    """Images whose grey is that of their class."""
    wanted = torch.tensor(labels)
    grey = (40 + 100 * wanted)[:, None, None, None].expand(-1, 1, side, side)
    return Table(grey.to(torch.uint8).contiguous(), wanted)


class Coder(Method):
    """Codes are the first two pixels, and an image is given back as it is."""

    code_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(1))

    def embed(self, image: Tensor) -> Tensor:
        return image.flatten(1)[:, :2]

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        code = self.embed(image)
        return code, torch.zeros_like(code)

    def reconstruct(self, image: Tensor) -> Tensor:
        return image

    def decode(self, code: Tensor) -> Tensor:
        return code.new_zeros(len(code), 1, 4, 4)


class OfOnes(Coder):
    """Its decoder learns the images of class 1; it gives back black of others."""

    def learns(self, table: Table) -> Tensor:
        assert table.labels is not None
        return table.labels == 1

    def reconstruct(self, image: Tensor) -> Tensor:
        bright = image.flatten(1).mean(1) > 0.3
        return image * bright[:, None, None, None]


def test_a_mixture_is_of_all_classes_of_a_sorted_table() -> None:
    train = table([0] * 1500 + [1] * 1500)
    data = data_of(train, table([0, 1]), table([0, 1]))
    means = codes_mixture(inference_on(Coder(), data, "unit"), Coder(), 0).mean
    assert means.min() < 0.3 and means.max() > 0.4
    rows = some_rows(3000, 1000, "mixture")
    assert len(rows.unique()) == 1000 and torch.equal(rows, some_rows(3000, 1000, "mixture"))


def test_a_decoder_is_judged_on_the_images_that_it_learns() -> None:
    data = data_of(table([0, 1] * 10), table([0, 1] * 5), table([0, 1] * 5))
    inference = inference_on(OfOnes(), data, "unit")
    numbers = evaluate(inference, "val", 0)
    assert numbers["reconstruction_error"] == 0 and numbers["squared_error"] == 0
    assert numbers["active_units"] == 0  # all images of one class are alike here
    assert evaluate(inference_on(Coder(), data, "unit"), "val", 0)["active_units"] == 2
    rows = inference.decoded(data.train), inference.decoded(data.test)
    assert rows[0].tolist() == list(range(1, 20, 2))
    assert trivial(data, "test", {"reconstruction_error": 0.0}, 0, rows)[
        "reconstruction_error"
    ] == pytest.approx(0)
    only_zeros = data_of(table([0, 1] * 10), table([0, 0]), table([0, 1] * 5))
    numbers = evaluate(inference_on(OfOnes(), only_zeros, "unit"), "val", 0)
    assert "reconstruction_error" not in numbers and "active_units" not in numbers


def test_one_image_and_one_class_give_no_number_that_says_nothing() -> None:
    one_class = data_of(table([0] * 8), table([0]), table([0] * 4), classes=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numbers = evaluate(inference_on(Coder(), one_class, "unit"), "val", 0)
    assert not numbers.keys() & {"active_units", "knn", "linear_probe", "recall_at_1"}
    with pytest.raises(UserError, match="supervised needs two classes or more, but the only"):
        check_labels(config_of("method=supervised"), one_class)
    hint = f"the only class is {one_class.class_names[0]}, which has the folders cat, dog"
    with pytest.raises(UserError, match=hint):
        check_labels(config_of("method=supervised"), replace(one_class, report=(hint,)))
    check_labels(config_of("method=autoencoder"), one_class)


def test_large_images_go_in_small_batches_and_give_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert batch_of(28, 28) == batch_of(64, 64) == 250
    assert batch_of(256, 256) == 16 and batch_of(4096, 4096) == 1
    data = data_of(table([0, 1] * 10), table([0, 1] * 5), table([0, 1] * 5))
    numbers = []
    for pixels in (2**20, 64):
        monkeypatch.setattr("dlrun.evaluation.inference._PIXELS", pixels)
        numbers.append(evaluate(inference_on(OfOnes(), data, "unit"), "val", 0))
    assert numbers[0] == pytest.approx(numbers[1])


@pytest.mark.parametrize("size", [1, 3])
def test_components_of_fewer_images_than_pixels_are_the_same(size: int) -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.rand(12, 40, generator=generator), torch.rand(9, 40, generator=generator)
    mean = train.double().mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(train.double().T, correction=0))
    kept = vectors.flip(1)[:, :size]
    centred = test.double() - mean
    expected = float((centred - centred @ kept @ kept.T).square().sum(1).mean())
    assert baselines.pca_squared_error(train, test, size) == pytest.approx(expected)
    noise = values.flip(0)[size:].mean()
    w = kept * (values.flip(0)[:size] - noise).sqrt()
    covariance = w @ w.T + noise * torch.eye(40, dtype=torch.float64)
    gaussian = torch.distributions.MultivariateNormal(mean, covariance)
    density = -float(gaussian.log_prob(test.double()).mean())
    assert baselines.ppca_negative_log_density(train, test, size) == pytest.approx(density)


def test_baselines_that_would_cost_more_than_the_training_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = data_of(table([0, 1] * 10), table([0, 1] * 5), table([0, 1] * 5))
    numbers = dict.fromkeys(("knn", "squared_error", "reconstruction_error", "accuracy"), 0.0)
    assert too_large(data, numbers, 2) is None
    assert trivial(data, "test", numbers, 2).keys() == numbers.keys()
    monkeypatch.setattr(baselines, "_MOST_COMPONENTS", 10)
    assert too_large(data, {"squared_error"}, 2) == (
        "no baseline by principal components: 20 train images of 16 values are too many"
    )
    monkeypatch.setattr(baselines, "_MOST_VALUES", 100)
    assert "neighbours" in str(too_large(data, numbers, 2))
    left = trivial(data, "test", numbers, 2)
    assert left.keys() == {"reconstruction_error", "accuracy"}


@pytest.mark.parametrize(
    ("key", "val", "test", "told"),
    [("accuracy", 0.988, 0.191, True), ("accuracy", 0.9, 0.8, False), ("loss", 0.9, 0.1, False)],
)
def test_val_far_from_test_is_told(key: str, val: float, test: float, told: bool) -> None:
    split = [0] * 100
    experiment: Any = SimpleNamespace(
        method=SimpleNamespace(key_metric=key), data=SimpleNamespace(val=split, test=split)
    )
    lines = _far_from_val(experiment, Progress(best_value=val), {key: test})
    assert bool(lines) == told
    experiment.data.val = [0]  # of a single image anything may come
    assert not _far_from_val(experiment, Progress(best_value=1.0), {key: 0.5})


def loop(first: float = 1.0) -> Loop:
    made = object.__new__(Loop)
    config = SimpleNamespace(accumulate=1)
    made.experiment = cast(Any, SimpleNamespace(config=config))
    made._saved_step = None
    made.progress = Progress(step=10)
    made._demand_converging(["loss", "accuracy"], torch.tensor([[first, 0.0]]))
    return made


def test_a_loss_that_explodes_ends_the_run() -> None:
    made = loop()
    huge = torch.tensor([[2e6, 1e12]] * 3)
    made._demand_converging(["loss", "accuracy"], huge)
    with pytest.raises(RunFailed, match=r"train/loss is 2e\+06, 2e\+06 times its first at step 9"):
        made._demand_converging(["loss", "accuracy"], huge)
    made = loop()
    for _ in range(5):  # now and then is no divergence
        made._demand_converging(["loss"], torch.tensor([[2e6], [2e6], [1.0]]))
    made = loop(first=1e5)
    made._demand_converging(["loss"], torch.full((20, 1), 1e10))


def test_a_val_metric_that_is_no_number_is_told() -> None:
    made = loop()
    assert made._odd({"loss": 0.5, "accuracy": 1.0}) == []
    assert made._odd({"loss": float("nan"), "knn": float("inf")}) == [
        "not finite on val: loss, knn"
    ]
    (line,) = made._odd({"loss": 8e24})
    assert "8e+24" in line and "diverged" in line


@pytest.mark.parametrize(
    ("method", "size", "expected"),
    [
        ("supervised", 6, None), ("supervised", 7, 2),
        ("dbvae", 8, None), ("dbvae", 6, 4), ("siamese", 16, None), ("siamese", 12, 8),
    ],
)  # fmt: skip
def test_each_process_has_an_equal_share_of_halves_and_groups(
    method: str, size: int, expected: int | None
) -> None:
    config, two = config_of(f"method={method}", f"batch_size={size}"), Ranks(0, 2)
    if expected is None:
        check_processes(config, two)
    else:
        said = rf"got {size}, but 2 processes share .*expected a multiple of {expected}"
        with pytest.raises(UserError, match=said):
            check_processes(config, two)
    check_processes(config, Ranks())


@pytest.mark.parametrize("schedule", ["step", "linear"])
def test_shares_of_the_run_are_of_the_whole_run(schedule: str) -> None:
    overrides = {"step": "schedule.milestones=[0.5]", "linear": "schedule.constant=0.5"}
    config = config_of(f"schedule={schedule}", "schedule.warmup=20%", overrides[schedule])
    factors = [rate_factor(config.schedule, step, 100, 10) for step in range(100)]
    assert factors[20:50] == [1.0] * 30 and factors[51] < 1
    assert factors[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])


def test_accumulated_batches_keep_in_step_with_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven batches, two a step: three steps an epoch, each epoch from its own first batch."""
    drawn: list[int] = []
    metrics = {"loss": torch.tensor(0.0)}
    experiment: Any = SimpleNamespace(
        config=config_of("batch_size=8", "accumulate=2"),
        steps_per_epoch=3,
        batches=SimpleNamespace(length=60, draw=drawn.append),
        method=SimpleNamespace(
            step=lambda *_: metrics, after_update=lambda _: None, state_dict=dict
        ),
        update=SimpleNamespace(begin=lambda *_, **__: None, finish=lambda _: None),
        hardware=SimpleNamespace(autocast=nullcontext, device=torch.device("cpu")),
        ranks=Ranks(),
    )
    for step in range(4):
        take_step(experiment, step)
    assert drawn == [0, 1, 2, 3, 4, 5, 7, 8]


def test_one_image_on_maps_of_one_pixel_is_told() -> None:
    small = ("model=resnet8", "model.width=4", "batch_size=1", "dataset=fashion_mini")
    made = harness.experiment("method=supervised", *small)
    tiny = torch.zeros(1, 1, 4, 4)
    batch = SimpleNamespace(image=tiny, label=torch.zeros(1, dtype=torch.long))
    made = replace(made, batches=cast(Any, SimpleNamespace(length=60, draw=lambda _: batch)))
    with pytest.raises(UserError, match=r"batch_size: got 1, but model resnet has batch norm on"):
        take_step(made, 0)


def test_digits_are_not_mirrored() -> None:
    data = data_of(table([0, 1] * 10), table([0, 1]), table([0, 1]))
    config = config_of("method=supervised", "augment=crop_flip")
    assert _unmirrored(config, data) == (config, [])
    changed, (line,) = _unmirrored(config, replace(data, mirror=False))
    assert changed.augment.first == replace(config.augment.first, flip=0.0)
    assert "not mirrored" in line and changed.batch_size == config.batch_size
    for overrides, mirrors in (
        (("dataset=mnist",), False),
        (("dataset=fashion_mnist",), True),
        (("dataset=two_domains", "dataset@dataset.a=mnist", "dataset@dataset.b=fashion_mnist"), 0),
    ):
        choice = config_of("method=cyclegan", *overrides).dataset
        assert lookup("dataset", choice.name)().mirrors(choice.options) == mirrors


@pytest.mark.parametrize("name", ["supervised", "siamese", "autoencoder", "vae", "dbvae"])
def test_nothing_is_float64_on_a_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some have none. Here all is on the CPU, so what was not taken there first counts as not."""
    to_cpu, to_double = Tensor.cpu, Tensor.double

    def cpu(self: Tensor) -> Tensor:
        found = to_cpu(self)
        found.is_there = True  # type: ignore[attr-defined]
        return found

    def double(self: Tensor) -> Tensor:
        if not getattr(self, "is_there", False):
            raise TypeError("this device has no float64")
        return to_double(self)

    made = harness.experiment(*harness.SMALL[name])
    inference = harness.inference_of(made)
    before_epoch(made, inference, 0)
    monkeypatch.setattr(Tensor, "cpu", cpu)
    monkeypatch.setattr(Tensor, "double", double)
    assert evaluate(inference, "val", 0)
    assert all(value.dtype != torch.float64 for value in made.method.state_dict().values())
    rows = torch.rand(3)
    assert float((rows > 2).cpu().double().mean()) == 0
    with pytest.raises(TypeError, match="no float64"):
        rows.double()


def test_a_bound_is_of_the_arithmetic_of_the_likelihood() -> None:
    made = harness.experiment(*harness.VAE)
    inference = harness.inference_of(made)
    half = replace(inference, autocast=lambda: torch.autocast("cpu", torch.bfloat16))
    numbers = [evaluate(one, "val", 0, full=False) for one in (inference, half)]
    assert numbers[0]["negative_elbo"] == numbers[1]["negative_elbo"]
    assert numbers[0]["squared_error"] != numbers[1]["squared_error"]
