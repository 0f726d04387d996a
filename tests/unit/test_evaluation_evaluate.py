"""Every number of an evaluation by hand, from methods whose answers are known."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.data.table import DataSet, PixelScale, Table
from dlrun.errors import UserError
from dlrun.evaluation import inference as inference_module
from dlrun.evaluation.evaluate import DomainJudge, evaluate, trivial
from dlrun.evaluation.features import knn_predict
from dlrun.evaluation.inference import Inference
from dlrun.methods.base import Method

CPU = torch.device("cpu")


def table(count: int, seed: int, labelled: bool = True) -> Table:
    """Class c has its bright pixels in row c: told apart by sight, but not without fail."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 200, (count, 1, 4, 4), generator=generator)
    images[torch.arange(count), 0, labels] += 55
    return Table(images.to(torch.uint8), labels if labelled else None)


def data_set(val: int = 21, labelled: bool = True) -> DataSet:
    return DataSet(
        name="rows",
        train=table(60, 0, labelled),
        val=table(val, 1, labelled),
        test=table(30, 2, labelled),
        class_names=("a", "b", "c") if labelled else (),
        domains=(0, 1) if labelled else None,
        mean=torch.tensor([0.4]),
        std=torch.tensor([0.2]),
        checksum="",
    )


class Known(Method):
    """Has a parameter and a buffer, so that changes of them would show."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(16)


class Classifier(Known):
    """Says 0 whatever it sees."""

    def predict(self, image: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        return torch.tensor([1.0, 0.0, 0.0]).expand(len(image), 3)

    def embed(self, image: Tensor) -> Tensor:
        return image.flatten(1)


class Raw(Known):
    """Its features are the pixels."""

    def embed(self, image: Tensor) -> Tensor:
        return image.flatten(1)


class Grey(Known):
    """Gives one grey back whatever it sees."""

    def reconstruct(self, image: Tensor) -> Tensor:
        return torch.full_like(image, 0.25)


class Validator(Known):
    """Its number is each image's label."""

    def validate(self, image: Tensor, label: Tensor | None) -> dict[str, Tensor]:
        assert label is not None
        return {"label": label.float(), "one": torch.ones(len(image))}


class Identity(Known):
    """Translates nothing; in [0, 1] whatever came in."""

    def translate(self, image: Tensor, direction: str) -> Tensor:
        return (image + 1) / 2


class Swap(Known):
    """Carries a's bright row to b's place and b's to a's: the perfect translation."""

    def translate(self, image: Tensor, direction: str) -> Tensor:
        return ((image + 1) / 2)[:, :, [1, 0, 2, 3]]


class Lossy(Known):
    """A shift that is known: a to b adds 0.1, b to a adds 0.2."""

    def translate(self, image: Tensor, direction: str) -> Tensor:
        return (image + 1) / 2 + (0.1 if direction == "a_to_b" else 0.2)


def inference(
    method: Method,
    data: DataSet,
    pixels: Any = "unit",
    autocast: Any = nullcontext,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Inference:
    scale = PixelScale.of(pixels, data.mean, data.std)
    return Inference(method, data, scale, CPU, memory_format, autocast)


def bf16() -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the last batch is an incomplete one."""
    monkeypatch.setattr(inference_module, "BATCH", 8)


# --- the numbers ---------------------------------------------------------------------------------


def test_accuracy_is_the_share_of_right_answers() -> None:
    data = data_set(val=20)  # 7, 7 and 6 of the classes
    numbers = evaluate(inference(Classifier(), data), "val", seed=0, thorough=False)
    assert numbers == {"accuracy": pytest.approx(7 / 20)}
    assert trivial(data, "val", numbers) == {"accuracy": pytest.approx(7 / 20)}


def test_thorough_adds_a_classifiers_features_and_the_probe() -> None:
    data = data_set()
    assert set(evaluate(inference(Classifier(), data), "val", 0)) == {
        "accuracy", "knn", "linear_probe",
    }  # fmt: skip
    assert set(evaluate(inference(Raw(), data), "val", 0)) == {"knn", "linear_probe"}
    assert set(evaluate(inference(Raw(), data), "val", 0, thorough=False)) == {"knn"}


@pytest.mark.parametrize("autocast", [nullcontext, bf16])
def test_raw_pixels_as_features_reach_the_trivial_figures(autocast: Any) -> None:
    data = data_set()
    numbers = evaluate(inference(Raw(), data, autocast=autocast), "test", 0)
    assert numbers == trivial(data, "test", numbers)
    predicted = knn_predict(
        data.train.images.flatten(1) / 255, data.train.labels, data.test.images.flatten(1) / 255
    )
    assert numbers["knn"] == pytest.approx((predicted == data.test.labels).float().mean().item())
    assert 0.4 < numbers["knn"] <= 1


def test_numbers_of_a_methods_own_are_means_over_images_and_not_over_batches() -> None:
    data = data_set(val=20)
    numbers = evaluate(inference(Validator(), data), "val", 0)
    assert numbers["label"] == pytest.approx((7 * 0 + 7 * 1 + 6 * 2) / 20)
    assert numbers["one"] == 1


def test_reconstruction_error_by_hand() -> None:
    data = data_set()
    numbers = evaluate(inference(Grey(), data), "val", 0)
    x = data.val.images.double() / 255
    assert numbers == {"reconstruction_error": pytest.approx(float((x - 0.25).square().mean()))}


def test_reconstruction_error_is_in_units_of_zero_to_one_whatever_the_network_sees() -> None:
    data = data_set()
    x = data.val.images.double() / 255
    expected = pytest.approx(float((x - 0.25).square().mean()), rel=1e-5)
    for pixels in ("symmetric", "standardized"):
        numbers = evaluate(inference(Grey(), data, pixels), "val", 0)
        assert numbers["reconstruction_error"] == expected


def test_the_trivial_reconstruction_is_the_mean_train_image() -> None:
    data = data_set()
    mean = (data.train.images.double() / 255).mean(0)
    expected = float(((data.test.images.double() / 255) - mean).square().mean())
    found = trivial(data, "test", {"reconstruction_error": 0.0})
    assert found == {"reconstruction_error": pytest.approx(expected)}


@pytest.mark.parametrize("autocast", [nullcontext, bf16])
def test_no_translation_reaches_the_trivial_figures(autocast: Any) -> None:
    data = data_set()
    numbers = evaluate(inference(Identity(), data, "symmetric", autocast), "test", 0)
    baseline = trivial(data, "test", numbers)
    assert baseline == {"target_share": numbers["target_share"], "cycle_error": 0.0}
    assert numbers["cycle_error"] == pytest.approx(0, abs=1e-6)
    assert numbers["target_share"] < 0.5


def test_the_perfect_translation_is_taken_for_the_target_as_often_as_the_target_itself() -> None:
    data = data_set()
    numbers = evaluate(inference(Swap(), data, "symmetric"), "test", 0)
    identity = evaluate(inference(Identity(), data, "symmetric"), "test", 0)
    assert numbers["cycle_error"] == pytest.approx(0, abs=1e-6)
    assert numbers["target_share"] > 0.75 > 0.4 > identity["target_share"]
    ways = [numbers["target_share_a_to_b"], numbers["target_share_b_to_a"]]
    assert numbers["target_share"] == min(ways)


def test_cycle_error_is_the_mean_difference_in_units_of_zero_to_one() -> None:
    data = data_set()
    numbers = evaluate(inference(Lossy(), data, "symmetric"), "test", 0)
    assert numbers["cycle_error"] == pytest.approx(0.3, rel=1e-5)


# --- the judge -----------------------------------------------------------------------------------


def test_the_judge_goes_by_the_nearest_train_images_of_the_two_domains() -> None:
    data = data_set()
    judge = DomainJudge(data)
    assert judge.bank.shape == (40, 16)  # the third class is no part of it
    train = data.train.images.float().flatten(1) / 255
    labels = data.train.labels
    assert labels is not None
    assert torch.equal(judge.bank[:20], train[labels == 0])
    assert torch.equal(judge.bank[20:], train[labels == 1])
    a, b = torch.zeros(4, 4), torch.zeros(4, 4)
    a[0], b[1] = 1, 1
    images = torch.stack([a, a, a, b]).flatten(1)
    assert judge.share(images, 0) == 0.75
    assert judge.share(images, 1) == 0.25


def test_the_judge_needs_two_domains() -> None:
    with pytest.raises(UserError, match="needs two domains"):
        DomainJudge(data_set(labelled=False))


# --- what an evaluation leaves alone -------------------------------------------------------------


def test_a_split_without_images_has_no_numbers() -> None:
    assert evaluate(inference(Classifier(), data_set(val=0)), "val", 0) == {}


def test_without_labels_only_what_needs_none_is_told() -> None:
    data = data_set(labelled=False)
    assert evaluate(inference(Classifier(), data), "val", 0) == {}
    numbers = evaluate(inference(Grey(), data), "val", 0)
    assert set(numbers) == {"reconstruction_error"}
    assert set(trivial(data, "val", {**numbers, "accuracy": 1.0})) == {"reconstruction_error"}


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_put_back_even_where_a_method_fails(training: bool) -> None:
    class Failing(Known):
        def predict(self, image: Tensor) -> Tensor:
            raise KeyError("of its own")

    method = Failing().train(training)
    with pytest.raises(KeyError):
        evaluate(inference(method, data_set()), "val", 0)
    assert method.training is training
    assert method.norm.training is training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


# --- inference -----------------------------------------------------------------------------------


def test_batches_hold_every_image_once_in_order() -> None:
    data = data_set(val=20)
    images, labels = zip(*inference(Raw(), data).batches(data.val), strict=True)
    assert [len(part) for part in images] == [8, 8, 4]
    assert torch.equal(torch.cat(images), data.val.images.float() / 255)
    assert data.val.labels is not None
    assert torch.equal(torch.cat(labels), data.val.labels)


def test_batches_of_some_rows() -> None:
    data = data_set()
    rows = torch.tensor([5, 3, 3])
    ((image, label),) = inference(Raw(), data, "symmetric").batches(data.val, rows)
    assert torch.allclose(image, data.val.images[rows].float() / 127.5 - 1)
    assert label is not None
    assert label.tolist() == [2, 0, 0]


def test_images_are_standardized_and_laid_out_as_the_run_has_it() -> None:
    data = data_set()
    runner = inference(Raw(), data, "standardized", memory_format=torch.channels_last)
    wide = Table(data.val.images.expand(-1, 3, -1, -1).contiguous(), None)
    image = runner.images(wide, torch.arange(4))
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(image, (wide.images[:4].float() / 255 - 0.4) / 0.2)


def test_over_joins_in_float32() -> None:
    data = data_set(val=20)
    runner = inference(Raw(), data)
    joined = runner.over(data.val, lambda x: x.flatten(1).bfloat16())
    assert joined.shape == (20, 16)
    assert joined.dtype == torch.float32


def test_evaluating_runs_at_the_runs_precision() -> None:
    entered: list[str] = []

    class Noted(AbstractContextManager[None]):
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *error: object) -> None:
            entered.append("out")

    method = Raw().train()
    with inference(method, data_set(), autocast=Noted).evaluating():
        assert entered == ["in"]
        assert not method.training
        assert torch.is_inference_mode_enabled()
    assert entered == ["in", "out"]
    assert method.training
