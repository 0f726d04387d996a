"""Every number of an evaluation by hand, from methods whose answers are known."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from parts import data_of, inference_on
from torch import Tensor, nn

from dlrun.data.batches import EvalBatch
from dlrun.data.table import DataSet, Table
from dlrun.errors import UserError
from dlrun.evaluation import inference as inference_module
from dlrun.evaluation.baselines import DomainNeighbours, trivial
from dlrun.evaluation.evaluate import evaluate, teacher_predictions
from dlrun.evaluation.features import knn_predict, mean_average_precision, recall_at_k, spread
from dlrun.evaluation.metrics import METRICS
from dlrun.methods.base import Method
from dlrun.models.pretrained import Pretrained


def table(count: int, seed: int, labelled: bool = True) -> Table:
    """Class c has its bright pixels in row c: which tells them apart, but not always."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 200, (count, 1, 4, 4), generator=generator)
    images[torch.arange(count), 0, labels] += 55
    return Table(images.to(torch.uint8), labels if labelled else None)


def data_set(val: int = 21, labelled: bool = True) -> DataSet:
    splits = (table(n, seed, labelled) for seed, n in enumerate((60, val, 30)))
    return data_of(*splits, classes=3 if labelled else 0)


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


class Taught(Classifier):
    """Its teacher says 1 of images whose first pixel is bright, and 0 of others."""

    def __init__(self, with_classifier: bool = True) -> None:
        super().__init__()
        self.teacher, self.student = nn.Identity(), nn.Identity()
        self.source = Pretrained("a run", {}, {})
        self.with_classifier = with_classifier

    def teach(self, image: Tensor) -> Tensor | None:
        assert not self.training
        assert not torch.is_grad_enabled()
        bright = (image[:, 0, 0, 0] > 0.5).long()
        return nn.functional.one_hot(bright, 3).float() if self.with_classifier else None


class Raw(Known):
    """Its features are the pixels."""

    def embed(self, image: Tensor) -> Tensor:
        return image.flatten(1)


class Retrieves(Raw):
    """Chooses its best epoch by recall."""

    key_metric = "recall_at_1"


class Projector(Known):
    """Its projections are the pixels of the first row."""

    def project(self, image: Tensor) -> Tensor:
        assert not self.training
        return image[:, 0, 0]


class Numbers(Known):
    """Gives three numbers, none of them a class."""

    def __init__(self) -> None:
        super().__init__()
        self.classifies = False

    def predict(self, image: Tensor) -> Tensor:
        raise AssertionError("asked for classes")


class Grey(Known):
    """Gives one grey back whatever it sees."""

    def reconstruct(self, image: Tensor) -> Tensor:
        return torch.full_like(image, 0.25)


class Validator(Known):
    """Its numbers are each image's label, and the brightness of those with one label only."""

    def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
        assert batch.label is not None
        known, unknown = batch.label == 2, batch.label == 3
        brightness = batch.image.flatten(1).amax(1)
        return {
            "label": batch.label.float(), "bright": brightness[known], "none": brightness[unknown],
        }  # fmt: skip


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


def bf16() -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the last batch is an incomplete one."""
    monkeypatch.setattr(inference_module, "_BATCH", 8)


# --- the numbers ---------------------------------------------------------------------------------


def test_accuracy_is_the_fraction_of_right_answers() -> None:
    data = data_set(val=20)  # 7, 7 and 6 of the classes
    numbers = evaluate(inference_on(Classifier(), data), "val", seed=0, full=False)
    assert numbers == {"accuracy": pytest.approx(7 / 20)}
    assert trivial(data, "val", numbers) == {"accuracy": pytest.approx(7 / 20)}
    assert evaluate(inference_on(Numbers(), data_set()), "val", 0) == {}  # without classes


def test_full_adds_a_classifiers_features_and_the_probe() -> None:
    data, features = data_set(), {"knn", "linear_probe", "recall_at_1", "recall_at_5"}
    assert set(evaluate(inference_on(Classifier(), data), "val", 0)) == {"accuracy", *features}
    assert set(evaluate(inference_on(Raw(), data), "val", 0)) == features
    assert set(evaluate(inference_on(Raw(), data), "val", 0, full=False)) == {"knn"}


def test_agreement_is_the_share_of_answers_that_are_the_teachers() -> None:
    data = data_set(val=20)
    dark = (data.val.images[:, 0, 0, 0] <= 127).double()  # the teacher says 0, as the student
    assert 0 < dark.mean() < 1
    numbers = evaluate(inference_on(Taught(), data), "val", 0)
    assert numbers["agreement"] == pytest.approx(dark.mean().item())
    assert numbers["accuracy"] == pytest.approx(7 / 20)
    assert trivial(data, "val", numbers).keys() == numbers.keys() - {"agreement"}
    assert set(evaluate(inference_on(Taught(), data), "val", 0, full=False)) == {"accuracy"}
    assert "agreement" not in evaluate(inference_on(Taught(with_classifier=False), data), "val", 0)


def test_what_a_teacher_predicts_is_computed_once() -> None:
    data = data_set(val=20)
    expected = (data.val.images[:, 0, 0, 0] > 127).long()
    subject = inference_on(Taught().train(), data)
    taught = teacher_predictions(subject, data.val)
    assert taught is not None and torch.equal(taught, expected)
    assert subject.method.training
    numbers = evaluate(subject, "val", 0)
    otherwise = evaluate(subject, "val", 0, taught=1 - taught)
    assert otherwise["agreement"] == pytest.approx(1 - numbers["agreement"])
    for method in (Taught(with_classifier=False), Classifier()):
        assert teacher_predictions(inference_on(method, data), data.val) is None


def test_a_method_whose_key_metric_is_recall_has_it_while_it_trains() -> None:
    data = data_set()
    quick = evaluate(inference_on(Retrieves(), data), "test", 0, full=False)
    assert set(quick) == {"knn", "recall_at_1", "recall_at_5"}
    numbers = evaluate(inference_on(Retrieves(), data), "test", 0)
    assert set(numbers) == {*quick, "linear_probe", "mean_average_precision"}
    assert quick.items() <= numbers.items()
    x, labels = data.test.images.flatten(1) / 255, data.test.labels
    assert labels is not None
    recalls = recall_at_k(x, labels, (1, 5))
    assert (numbers["recall_at_1"], numbers["recall_at_5"]) == (recalls[1], recalls[5])
    assert numbers["mean_average_precision"] == mean_average_precision(x, labels)
    assert 1 / 3 < recalls[1] < recalls[5]
    assert trivial(data, "test", numbers) == numbers
    assert trivial(data, "test", quick) == quick
    one_each = evaluate(inference_on(Retrieves(), data_set(val=3)), "val", 0)
    assert set(one_each) == {"knn", "linear_probe"}


@pytest.mark.parametrize("labelled", [True, False])
def test_the_spread_of_projections(labelled: bool) -> None:
    data = data_set(labelled=labelled)
    numbers = evaluate(inference_on(Projector(), data), "val", 0, full=False)
    assert numbers == pytest.approx(spread(data.val.images[:, 0, 0] / 255))
    assert numbers.keys() == {"projection_std", "projection_rank"} < METRICS.keys()
    assert 1 < numbers["projection_rank"] <= 4
    assert trivial(data, "val", numbers) == {}


@pytest.mark.parametrize("autocast", [nullcontext, bf16])
def test_raw_pixels_as_features_reach_the_baselines(autocast: Any) -> None:
    data = data_set()
    numbers = evaluate(inference_on(Raw(), data, autocast=autocast), "test", 0)
    assert numbers == trivial(data, "test", numbers)
    predicted = knn_predict(
        data.train.images.flatten(1) / 255, data.train.labels, data.test.images.flatten(1) / 255
    )
    assert numbers["knn"] == pytest.approx((predicted == data.test.labels).float().mean().item())
    assert 0.4 < numbers["knn"] <= 1


def test_a_methods_own_numbers_are_means_over_the_images_that_have_them() -> None:
    """Not over batches: the last one is smaller."""
    data = data_set(val=20)
    known = data.val.images[data.val.labels == 2].flatten(1).amax(1) / 255
    assert evaluate(inference_on(Validator(), data), "val", 0) == {
        "label": pytest.approx((7 * 0 + 7 * 1 + 6 * 2) / 20),
        "bright": pytest.approx(known.mean().item()),
    }


@pytest.mark.parametrize("pixels", ["unit", "symmetric", "standardized"])
def test_reconstruction_error_is_in_units_of_zero_to_one(pixels: Any) -> None:
    data = data_set()
    x = data.val.images.double() / 255
    numbers = evaluate(inference_on(Grey(), data, pixels), "val", 0)
    expected = pytest.approx(float((x - 0.25).square().mean()), rel=1e-5)
    assert numbers == {"reconstruction_error": expected}


def test_the_trivial_reconstruction_is_the_mean_train_image() -> None:
    data = data_set()
    mean = (data.train.images.double() / 255).mean(0)
    expected = float(((data.test.images.double() / 255) - mean).square().mean())
    found = trivial(data, "test", {"reconstruction_error": 0.0})
    assert found == {"reconstruction_error": pytest.approx(expected)}


def with_columns(train: dict[str, Tensor], test: dict[str, Tensor]) -> DataSet:
    """The data set with attributes, known of the last images and missing of the others."""

    def filled(part: Table, columns: dict[str, Tensor]) -> Table:
        whole = {}
        for name, column in columns.items():
            missing = torch.nan if column.is_floating_point() else -1
            rest = torch.full((len(part) - len(column),), missing, dtype=column.dtype)
            whole[name] = torch.cat([rest, column])
        return Table(part.images, part.labels, whole)

    data = data_set()
    return replace(data, train=filled(data.train, train), test=filled(data.test, test))


def test_the_trivial_answer_for_an_attribute_is_the_most_frequent_known_class() -> None:
    data = with_columns(
        {"kind": torch.tensor([4, 1, 4, 2, 2, 4])},  # -1 of the 54 others
        {"kind": torch.tensor([4, 4, 2, 1])},
    )
    assert trivial(data, "test", {"accuracy_kind": 0.0}) == {"accuracy_kind": 0.5}
    assert trivial(data, "test", {"accuracy": 0.0}).keys() == {"accuracy"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_the_trivial_answer_for_a_number_is_the_median_of_those_known(dtype: torch.dtype) -> None:
    data = with_columns(
        {"age": torch.tensor([30, 10, 20, 90, 0], dtype=dtype)},  # NaN or -1 of the 55 others
        {"age": torch.tensor([20, 26, 10], dtype=dtype)},
    )
    found = trivial(data, "test", {"absolute_error_age": 0.0})
    assert found == {"absolute_error_age": pytest.approx((0 + 6 + 10) / 3)}


def test_an_attribute_without_known_values_has_no_baseline_and_needs_no_labels() -> None:
    numbers = {"accuracy_kind": 0.0, "absolute_error_age": 0.0}
    known = {"kind": torch.tensor([1]), "age": torch.tensor([2.0])}
    unknown = {name: column[:0] for name, column in known.items()}
    data = with_columns(known, known)
    train, test = (replace(table, labels=None) for table in (data.train, data.test))
    for given in (data, replace(data, train=train, test=test, class_names=())):
        assert trivial(given, "test", numbers) == {"accuracy_kind": 1, "absolute_error_age": 0}
    assert trivial(with_columns(unknown, known), "test", numbers) == {}
    assert trivial(with_columns(known, unknown), "test", numbers) == {}


@pytest.mark.parametrize("autocast", [nullcontext, bf16])
def test_no_translation_reaches_the_baselines(autocast: Any) -> None:
    data = data_set()
    numbers = evaluate(inference_on(Identity(), data, "symmetric", autocast), "test", 0)
    baseline = trivial(data, "test", numbers)
    assert baseline == {"target_share": numbers["target_share"], "cycle_error": 0.0}
    assert numbers["cycle_error"] == pytest.approx(0, abs=1e-6)
    assert numbers["target_share"] < 0.5


def test_the_perfect_translation_is_classified_as_the_target() -> None:
    data = data_set()
    numbers = evaluate(inference_on(Swap(), data, "symmetric"), "test", 0)
    identity = evaluate(inference_on(Identity(), data, "symmetric"), "test", 0)
    assert numbers["cycle_error"] == pytest.approx(0, abs=1e-6)
    assert numbers["target_share"] > 0.75 > 0.4 > identity["target_share"]
    ways = [numbers["target_share_a_to_b"], numbers["target_share_b_to_a"]]
    assert numbers["target_share"] == min(ways)


def test_cycle_error_is_the_mean_difference_in_units_of_zero_to_one() -> None:
    data = data_set()
    numbers = evaluate(inference_on(Lossy(), data, "symmetric"), "test", 0)
    assert numbers["cycle_error"] == pytest.approx(0.3, rel=1e-5)


# --- the classifier of the domains ---------------------------------------------------------------


def test_domains_are_classified_by_the_nearest_train_images() -> None:
    data = data_set()
    neighbours = DomainNeighbours(data)
    assert neighbours.bank.shape == (40, 16)  # without the third class
    train = data.train.images.float().flatten(1) / 255
    labels = data.train.labels
    assert labels is not None
    assert torch.equal(neighbours.bank[:20], train[labels == 0])
    assert torch.equal(neighbours.bank[20:], train[labels == 1])
    a, b = torch.zeros(4, 4), torch.zeros(4, 4)
    a[0], b[1] = 1, 1
    images = torch.stack([a, a, a, b]).flatten(1)
    assert neighbours.share(images, 0) == 0.75
    assert neighbours.share(images, 1) == 0.25


def test_classifying_domains_needs_two() -> None:
    with pytest.raises(UserError, match="needs two domains"):
        DomainNeighbours(data_set(labelled=False))


# --- what an evaluation leaves alone -------------------------------------------------------------


def test_a_split_without_images_has_no_numbers() -> None:
    assert evaluate(inference_on(Classifier(), data_set(val=0)), "val", 0) == {}


def test_without_labels_only_numbers_that_need_none() -> None:
    data = data_set(labelled=False)
    assert evaluate(inference_on(Classifier(), data), "val", 0) == {}
    numbers = evaluate(inference_on(Grey(), data), "val", 0)
    assert set(numbers) == {"reconstruction_error"}
    assert set(trivial(data, "val", {**numbers, "accuracy": 1.0})) == {"reconstruction_error"}


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_put_back_even_where_a_method_fails(training: bool) -> None:
    class Failing(Known):
        def predict(self, image: Tensor) -> Tensor:
            raise KeyError("of its own")

    method = Failing().train(training)
    with pytest.raises(KeyError):
        evaluate(inference_on(method, data_set()), "val", 0)
    assert method.training is training
    assert method.norm.training is training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


# --- inference -----------------------------------------------------------------------------------


def test_batches_hold_every_image_once_in_order_with_its_label_and_attributes() -> None:
    data = with_columns({}, {"age": torch.rand(30), "kind": torch.arange(30)})
    parts = list(inference_on(Raw(), data).batches(data.test))
    assert [len(part.image) for part in parts] == [8, 8, 8, 6]
    assert torch.equal(torch.cat([p.image for p in parts]), data.test.images.float() / 255)
    labels = [part.label for part in parts if part.label is not None]
    assert data.test.labels is not None and torch.equal(torch.cat(labels), data.test.labels)
    for name, column in data.test.attributes.items():
        assert torch.equal(torch.cat([part.attributes[name] for part in parts]), column)
    bare = data_set(labelled=False)
    assert [part.label for part in inference_on(Raw(), bare).batches(bare.val)] == [None] * 3


def test_batches_of_some_rows() -> None:
    data = with_columns({}, {"kind": torch.arange(30)})
    rows = torch.tensor([5, 3, 3])
    (part,) = inference_on(Raw(), data, "symmetric").batches(data.test, rows)
    assert torch.allclose(part.image, data.test.images[rows].float() / 127.5 - 1)
    assert part.label is not None and part.label.tolist() == [2, 0, 0]
    assert part.attributes["kind"].tolist() == [5, 3, 3]


def test_images_are_standardized_and_laid_out_as_the_run_has_it() -> None:
    data = data_set()
    runner = inference_on(Raw(), data, "standardized", memory_format=torch.channels_last)
    wide = Table(data.val.images.expand(-1, 3, -1, -1).contiguous(), None)
    image = runner.images(wide, torch.arange(4))
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(image, (wide.images[:4].float() / 255 - 0.5) / 0.25)


def test_over_joins_in_float32() -> None:
    data = data_set(val=20)
    runner = inference_on(Raw(), data)
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
    with inference_on(method, data_set(), autocast=Noted).evaluating():
        assert entered == ["in"]
        assert not method.training
        assert torch.is_inference_mode_enabled()
    assert entered == ["in", "out"]
    assert method.training


def test_groups_of_what_a_classifier_says() -> None:
    """It says 0 of everything: right for the positives, and for every negative it is wrong."""
    data = data_set()
    halves = {
        split: replace(t, attributes={"half": (torch.arange(len(t)) * 2) // max(1, len(t))})
        for split, t in (("train", data.train), ("val", data.val), ("test", data.test))
    }
    grouped = replace(data, **halves, groups=("half",), positive=0)  # type: ignore[arg-type]
    found = evaluate(inference_on(Classifier(), grouped), "test", 0)
    assert (found["recall"], found["false_positive_rate"]) == (1, 1)
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["group/half=1/n"] == 5 and found["group/half=1/negatives"] == 10
    while_training = evaluate(inference_on(Classifier(), grouped), "val", 0, full=False)
    assert while_training["worst_group_recall"] == 1 and "group/half=1/n" not in while_training
    without = evaluate(inference_on(Classifier(), data), "test", 0)
    assert not [key for key in without if "group" in key or key == "recall"]


def test_random_numbers_of_an_evaluation_are_a_function_of_its_seed_and_split() -> None:
    class Random(Known):
        def validate(self, batch: EvalBatch) -> dict[str, Tensor]:
            return {"drawn": torch.rand(len(batch.image))}

    inference = inference_on(Random(), data_set(val=30))
    found = []
    for state, seed, split in ((1, 0, "val"), (2, 0, "val"), (1, 1, "val"), (1, 0, "test")):
        torch.manual_seed(state)
        found.append(evaluate(inference, split, seed)["drawn"])
    assert found[0] == found[1] and len(set(found)) == 3
