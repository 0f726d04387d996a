"""Several tasks of one network: whose loss counts how much, and what is not known of an image."""

import copy
import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from parts import Gradients, method_of
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import EvalBatch, Labelled
from dlrun.data.info import Column, DataInfo, info_of
from dlrun.data.table import DataSet, PixelScale, Table
from dlrun.errors import ConfigError, UserError
from dlrun.evaluation.baselines import trivial
from dlrun.evaluation.evaluate import evaluate
from dlrun.evaluation.inference import Inference
from dlrun.methods.multitask import Multitask

SHAPE = (1, 4, 4)
COLUMNS = {
    "colour": Column(4, 1.0, 1.0),
    "age": Column(None, 40.0, 12.0),
    "floors": Column(9, 3.0, 2.0),
    "type": Column(2, 0.5, 0.5),
}
ROWS = 6


def multitask(*overrides: str, columns: dict[str, Column] = COLUMNS) -> Multitask:
    made: Multitask = method_of(
        "method=multitask", "model=mlp", "model.hidden=[5]", *overrides,
        info=DataInfo(SHAPE, ("a", "b", "c"), attributes=columns),
    )  # fmt: skip
    return made


def heads(method: Multitask) -> dict[str, nn.Linear]:
    """The linear layer of each task."""
    found = {}
    for task, head in zip(method.tasks, method.heads.values(), strict=True):
        assert isinstance(head, nn.Linear)
        found[task.name] = head
    return found


def batch(**changed: list[Any]) -> Labelled:
    attributes = {
        "colour": [0, 3, 1, 2, 2, 0], "age": [20.0, 60.0, 35.0, 41.5, 18.0, 77.0],
        "floors": [1, 0, 8, 3, 2, 5], "type": [0, 1, 1, 0, 0, 1],
    }  # fmt: skip
    image = torch.randn(ROWS, *SHAPE, generator=torch.Generator().manual_seed(1))
    columns = {name: torch.tensor(values) for name, values in (attributes | changed).items()}
    return Labelled(image, torch.tensor([0, 1, 2, 0, 1, 2]), torch.arange(ROWS), columns)


def take(method: Multitask, given: Labelled) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is told, and the gradients."""
    method.zero_grad()
    told = method.step(given, Gradients())
    gradients = {n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in told.items()}, gradients


def held_out(given: Labelled) -> EvalBatch:
    return EvalBatch(given.image, given.label, given.attributes)


TASKS = "method.tasks=[label,colour,age]"


# --- one loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, (2.0, 0.5, 0.25), (0.0, 1.0, 0.0)])
def test_the_loss_is_the_weighted_sum_of_the_tasks(weights: tuple[float, ...] | None) -> None:
    given = batch()
    more = () if weights is None else (f"method.task_weights={list(weights)}",)
    method = multitask(TASKS, *more)
    method.encoder.eval()
    twin = copy.deepcopy(method)
    features = twin.encoder(given.image)
    logits = {name: head(features) for name, head in heads(twin).items()}
    losses = [
        F.cross_entropy(logits["label"], given.label),
        F.cross_entropy(logits["colour"], given.attributes["colour"]),
        (logits["age"][:, 0] - (given.attributes["age"] - 40) / 12).square().mean(),
    ]
    expected = sum(w * one for w, one in zip(weights or (1, 1, 1), losses, strict=True))
    told, gradients = take(method, given)
    torch.testing.assert_close(told["loss"], torch.as_tensor(expected).detach())
    for name, one in zip(("label", "colour", "age"), losses, strict=True):
        torch.testing.assert_close(told[f"loss_{name}"], one.detach())
    torch.as_tensor(expected).backward()
    for name, p in twin.named_parameters():
        assert p.grad is not None
        torch.testing.assert_close(gradients[name], p.grad, rtol=1e-5, atol=1e-7)
    assert told["accuracy"] == (logits["label"].argmax(1) == given.label).float().mean()
    age = logits["age"][:, 0] * 12 + 40
    torch.testing.assert_close(
        told["absolute_error_age"], (age - given.attributes["age"]).abs().mean().detach()
    )
    assert told.keys() == {
        "loss", "loss_label", "loss_colour", "loss_age", "accuracy", "accuracy_colour",
        "absolute_error_age",
    }  # fmt: skip


def test_a_head_for_each_task() -> None:
    method = multitask("method.tasks=[colour,age,label,floors]", "method.numbers=[floors]")
    widths = {name: head.out_features for name, head in heads(method).items()}
    assert widths == {"colour": 4, "age": 1, "label": 3, "floors": 1}
    held = {id(p) for p in method.parameter_groups()["main"]}
    assert held == {id(p) for p in method.parameters()}


@pytest.mark.parametrize("name", ["type", "values", "keys", "training", "forward", "double"])
def test_a_column_may_have_any_name(name: str) -> None:
    """Also that of something that a module has."""
    method = multitask(f"method.tasks=[label,{name}]", columns={name: Column(2, 0.5, 0.5)})
    given = batch(**{name: [0, 1, 1, 0, 0, 1]})
    assert take(method, given)[0][f"loss_{name}"].isfinite()


# --- what is not known ---------------------------------------------------------------------------

NAN = float("nan")


@pytest.mark.parametrize(
    ("task", "missing", "other", "numbers"),
    [("colour", -1, 3, "[]"), ("age", NAN, 55.0, "[]"), ("floors", -1, 7, "[floors]")],
)
def test_missing_targets_give_no_loss_and_no_gradient(
    task: str, missing: float, other: float, numbers: str
) -> None:
    """As if those images were not there; batch norm, which sees them, is in eval mode."""
    method = multitask(f"method.tasks=[{task}]", f"method.numbers={numbers}")
    method.encoder.eval()
    column = batch().attributes[task].tolist()
    given = batch(**{task: [missing, *column[1:4], missing, column[5]]})
    rows = torch.tensor([1, 2, 3, 5])
    known = Labelled(
        given.image[rows], given.label[rows], rows,
        {name: values[rows] for name, values in given.attributes.items()},
    )  # fmt: skip
    told, gradients = take(method, given)
    expected, their_gradients = take(method, known)
    torch.testing.assert_close(told, expected)
    for name in their_gradients:
        torch.testing.assert_close(gradients[name], their_gradients[name])

    given.image.requires_grad_()
    method.step(given, Gradients())
    assert given.image.grad is not None
    touched = given.image.grad.flatten(1).abs().sum(1) > 0
    assert not touched[[0, 4]].any() and touched[rows].any()
    full = take(method, batch(**{task: [other, *column[1:4], other, column[5]]}))[0]
    assert full["loss"] != told["loss"]


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "focal", "hinge"])
def test_a_batch_of_which_nothing_is_known_is_finite_and_moves_nothing(loss: str) -> None:
    method = multitask("method.tasks=[colour,age]", f"loss={loss}")
    told, gradients = take(method, batch(colour=[-1] * ROWS, age=[NAN] * ROWS))
    assert all(value == 0 for value in told.values()), told
    assert all((gradient == 0).all() for gradient in gradients.values())


def test_what_is_missing_of_one_task_leaves_the_others_alone() -> None:
    method = multitask(TASKS)
    method.encoder.eval()
    whole = take(method, batch())[0]
    told = take(method, batch(age=[NAN, 60.0, NAN, NAN, NAN, NAN]))[0]
    for name in ("loss_label", "loss_colour", "accuracy", "accuracy_colour"):
        assert told[name] == whole[name]
    assert told["loss_age"] != whole["loss_age"]


def test_a_loss_that_is_not_finite_is_not_hidden() -> None:
    """Neither where the target is known nor where it is missing: the network is broken."""
    for missing in ([], [0]):
        method = multitask("method.tasks=[colour]")
        method.encoder.eval()
        given = batch(colour=[-1 if row in missing else 1 for row in range(ROWS)])
        given.image[0] = NAN
        assert take(method, given)[0]["loss"].isnan()


# --- numbers -------------------------------------------------------------------------------------


def test_a_number_is_learnt_in_standard_deviations_and_told_in_its_unit() -> None:
    """In years or in days, the loss is the same; the error is 365 times as large."""
    told = []
    for unit in (1.0, 365.0):
        columns = {"age": Column(None, 40 * unit, 12 * unit)}
        method = multitask("method.tasks=[age]", columns=columns)
        ages = [float(age) * unit for age in batch().attributes["age"]]
        told.append(take(method, batch(age=ages))[0])
    years, days = told
    torch.testing.assert_close(years["loss"], days["loss"])
    torch.testing.assert_close(years["absolute_error_age"] * 365, days["absolute_error_age"])


def test_whole_numbers_are_classes_unless_they_are_said_to_be_numbers() -> None:
    classes = multitask("method.tasks=[floors]")
    numbers = multitask("method.tasks=[floors]", "method.numbers=[floors]")
    assert "accuracy_floors" in take(classes, batch())[0]
    told = take(numbers, batch())[0]
    assert "absolute_error_floors" in told
    outputs = numbers.eval()(batch().image)["floors"][:, 0]
    expected = (outputs * 2 + 3 - batch().attributes["floors"]).abs()
    torch.testing.assert_close(
        numbers.validate(held_out(batch()))["absolute_error_floors"], expected
    )


@pytest.mark.parametrize("value_loss", ["squared_error", "absolute_error", "huber"])
def test_numbers_have_a_loss_of_their_own(value_loss: str) -> None:
    method = multitask("method.tasks=[age]", f"loss@method.value_loss={value_loss}")
    method.encoder.eval()
    given = batch()
    output = method(given.image)["age"][:, 0]
    target = (given.attributes["age"] - 40) / 12
    expected = torch.stack(
        [F.mse_loss(output, target), F.l1_loss(output, target), F.huber_loss(output, target)]
    )[["squared_error", "absolute_error", "huber"].index(value_loss)]
    torch.testing.assert_close(take(method, given)[0]["loss"], expected.detach())


# --- what is refused -----------------------------------------------------------------------------


def test_a_task_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(UserError) as refusal:
        multitask("method.tasks=[label,hair]")
    assert str(refusal.value) == (
        "method.tasks: 'hair' is not a column of the data set; expected one of colour, age, "
        "floors, type, label"
    )


def test_a_number_that_is_no_task_is_told() -> None:
    with pytest.raises(UserError, match="numbers: got 'flors'"):
        multitask("method.tasks=[floors]", "method.numbers=[flors]")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.tasks=[]", "tasks: got"),
        ("method.tasks=[label,label]", "expected different names"),
        ("method.task_weights=[1,2]", "task_weights: got 2, expected one for each of 1 tasks"),
        ("method.task_weights=[-1]", "task_weights"),
    ],
)
def test_tasks_that_make_no_sense_are_config_errors(override: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        multitask(override)


# --- held-out images -----------------------------------------------------------------------------


def table(count: int, seed: int, known: float = 1.0) -> Table:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, *SHAPE), generator=generator).byte()
    labels = torch.arange(count) % 3
    missing = torch.rand(count, generator=generator) >= known
    colour, age = labels.clone(), 30 + 10 * torch.randn(count, generator=generator)
    colour[missing], age[missing] = -1, NAN
    return Table(images, labels, {"colour": colour, "age": age})


def judged(
    *overrides: str, known: float = 1.0, **columns: Tensor
) -> tuple[DataSet, dict[str, float]]:
    train, val, test = (table(count, seed, known) for seed, count in enumerate((60, 30, 30)))
    val.attributes.update(columns)
    mean, std = torch.full((1,), 0.5), torch.full((1,), 0.3)
    data = DataSet("x", train, val, test, ("a", "b", "c"), None, mean, std, "")
    method = multitask(*overrides, columns=dict(info_of(data).attributes))
    inference = Inference(
        method, data, PixelScale.of(method.pixels, mean, std), torch.device("cpu"),
        torch.contiguous_format, nullcontext,
    )  # fmt: skip
    return data, evaluate(inference, "val", 0, full=False)


def test_with_the_label_accuracy_chooses_the_best() -> None:
    _, numbers = judged(TASKS)
    assert multitask(TASKS).key_metric == "accuracy"
    assert numbers.keys() == {
        "accuracy", "loss", "loss_label", "loss_colour", "loss_age", "accuracy_colour",
        "absolute_error_age",
    }  # fmt: skip
    parts = sum(numbers[f"loss_{name}"] for name in ("label", "colour", "age"))
    assert numbers["loss"] == pytest.approx(parts, rel=1e-6)


def test_without_the_label_there_is_no_accuracy_and_the_loss_chooses() -> None:
    """Also where the first task gives as many logits as there are classes."""
    _, numbers = judged("method.tasks=[colour]")
    assert numbers.keys() == {"loss", "accuracy_colour"}
    method = multitask("method.tasks=[colour,age]")
    assert (method.key_metric, method.classifies) == ("loss", False)
    assert Multitask.key_metric == "accuracy"
    assert method.predict(batch().image).shape == (ROWS, 4)


def test_scores_are_of_the_images_that_are_known() -> None:
    data, numbers = judged("method.tasks=[colour,age]", known=0.5)
    known = int((data.val.attributes["colour"] >= 0).sum())
    assert 5 < known < 25
    share = numbers["accuracy_colour"] * known
    assert share == pytest.approx(round(share))
    assert math.isfinite(numbers["absolute_error_age"])


def test_the_loss_on_val_is_that_of_training() -> None:
    """The tasks' losses, each over the images of which it is known."""
    few = torch.full((30,), NAN).index_fill(0, torch.arange(5), 33.0)
    _, numbers = judged("method.tasks=[colour,age]", "method.task_weights=[1,3]", age=few)
    expected = numbers["loss_colour"] + 3 * numbers["loss_age"]
    assert numbers["loss"] == pytest.approx(expected, rel=1e-6)


def test_a_column_of_which_nothing_is_known_on_val_has_no_number() -> None:
    _, numbers = judged("method.tasks=[label,age]", age=torch.full((30,), NAN))
    assert "absolute_error_age" not in numbers and "loss_age" not in numbers
    assert math.isfinite(numbers["loss"])


def test_the_trivial_baseline_of_a_column() -> None:
    data, numbers = judged(TASKS, known=0.5)
    found = trivial(data, "val", numbers)
    train, val = (split.attributes for split in (data.train, data.val))
    age, wanted = (split["age"][~split["age"].isnan()] for split in (train, val))
    middle = age.sort().values[(len(age) - 1) // 2]
    assert found["absolute_error_age"] == pytest.approx(float((middle - wanted).abs().mean()))
    colours, wanted = (split["colour"][split["colour"] >= 0] for split in (train, val))
    most = int(colours.bincount().argmax())
    assert found["accuracy_colour"] == pytest.approx(float((wanted == most).float().mean()))
