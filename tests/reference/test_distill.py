"""Distillation against the lecture notes' teacher-student loop, executed literally."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from parts import config_of, method_of, network_of, take_step, updating
from torch import nn
from torch.nn import functional as F

from dlrun.data.batches import Labelled
from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.distill import Distill
from dlrun.models.classifier import Classifier, tapped
from dlrun.models.pretrained import Pretrained
from dlrun.options import Choice
from dlrun.training.update import Update

CLASSES = tuple("0123456789")
INFO = DataInfo((1, 8, 8), CLASSES, (0.3,), (0.3,))


def resnet(width: int) -> Choice:
    return config_of("method=supervised", "model=resnet8", f"model.width={width}").model


def teacher(width: int = 6) -> Pretrained:
    torch.manual_seed(7)
    network = Classifier(network_of(resnet(width), INFO.image_shape, 10), 0.0, 10)
    for module in network.modules():  # statistics that differ from a batch's
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1)
    return Pretrained(
        "outputs/teacher", network.state_dict(), {"backbone": "encoder.", "head": "head."},
        "supervised", resnet(width), INFO, "standardized", 100,
    )  # fmt: skip


KD = ("loss=kd", "loss.ce_weight=0.25", "loss.kd_weight=0.75", "loss.temperature=2")
HINT = ("loss=hint", "loss.ce_weight=1", "loss.kd_weight=100")
OTHER_MAPS = (*HINT, "method.student_tap=stage2", "method.teacher_tap=stage1")


def method(*overrides: str, source: Pretrained | None = None) -> Distill:
    made: Distill = method_of(
        "method=distill", "method.teacher=outputs/teacher", "model=resnet8", "model.width=4",
        *overrides, info=INFO, pretrained=lambda _: source or teacher(),
    )  # fmt: skip
    return made


def sgd(made: Distill) -> Update:
    return updating(made, total=10, lr=0.1)


def batches(count: int = 3) -> list[Labelled]:
    generator = torch.Generator().manual_seed(1)
    return [
        Labelled(
            torch.randn(12, 1, 8, 8, generator=generator),
            torch.randint(0, 10, (12,), generator=generator),
            torch.arange(12),
        )
        for _ in range(count)
    ]


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6, msg=name)


def test_the_notes_loop_executed_literally() -> None:
    """Their LossFn is KL here; T squared, which they leave out, is a factor of beta."""
    made = method(*KD)
    student, frozen = copy.deepcopy(made.student), copy.deepcopy(made.teacher)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    t, alpha, beta = 2.0, 0.25, 0.75 * 2.0**2
    update = sgd(made)
    for batch in batches():
        told = take_step(made, update, batch)

        x, y = batch.image, batch.label
        soft_labels = torch.softmax(frozen(x) / t, 1)
        soft_predictions = torch.softmax(student(x) / t, 1)
        hard_predictions = torch.softmax(student(x), 1)
        distillation_loss = (
            (soft_labels * (soft_labels.log() - soft_predictions.log())).sum(1).mean()
        )
        student_loss = -hard_predictions[torch.arange(len(y)), y].log().mean()
        total_loss = alpha * student_loss + beta * distillation_loss
        # their second forward pass of the student moves batch norm's statistics a second time
        optimizer.zero_grad()
        total_loss.backward()
        optimizer.step()

        torch.testing.assert_close(told["loss"], total_loss.detach())
    for mine, theirs in zip(made.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_the_notes_soft_cross_entropy_takes_the_same_steps() -> None:
    first, second = method(*KD), method("loss=kd_cross_entropy", *KD[1:])
    for made in (first, second):
        update = sgd(made)
        for batch in batches():
            take_step(made, update, batch)
    assert_same_weights(first.student, second.student)


@pytest.mark.parametrize(
    "overrides",
    [
        ("loss=kd_standardized",), ("loss=dkd",), OTHER_MAPS, ("loss=attention",),
        ("loss=kd_cosine", "method.student_tap=stage2", "method.teacher_tap=stage2"),
    ],
)  # fmt: skip
def test_the_teacher_is_in_eval_mode_and_nothing_of_it_moves(overrides: tuple[str, ...]) -> None:
    made = method(*overrides)
    before = {name: value.clone() for name, value in made.teacher.state_dict().items()}
    update = sgd(made)
    for batch in batches():
        made.train()
        assert not any(module.training for module in made.teacher.modules())
        take_step(made, update, batch)
    for name, value in made.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None and not p.requires_grad for p in made.teacher.parameters())
    held = {id(p) for p in made.parameter_groups()["main"]}
    assert not held & {id(p) for p in made.teacher.parameters()}


def test_the_regressor_is_trained_and_in_the_state() -> None:
    made = method(*OTHER_MAPS)
    names = {name for name in made.state_dict() if name.startswith("regressor.")}
    assert "regressor.layer.0.weight" in names
    held = {id(p) for p in made.parameter_groups()["main"]}
    assert {id(p) for p in made.regressor.parameters()} <= held
    before = made.regressor.layer[0].weight.clone()  # type: ignore[union-attr, index]
    take_step(made, sgd(made), batches()[0])
    assert not torch.equal(made.regressor.layer[0].weight, before)  # type: ignore[union-attr, index]


def test_the_hint_loss_by_hand() -> None:
    """FitNets' equation 3 on maps of unlike width and size, in one stage with cross-entropy."""
    made = method(*OTHER_MAPS)
    twin, batch = copy.deepcopy(made), batches()[0]
    logits, guided = tapped(twin.student, "stage2", batch.image)
    x = batch.image
    hint = twin.teacher.encoder.stage1(twin.teacher.encoder.stem(x))  # type: ignore[operator, union-attr]
    conv, norm = twin.regressor.layer  # type: ignore[union-attr, misc]
    matched = norm(conv(F.adaptive_avg_pool2d(guided, hint.shape[2:])))
    expected = F.cross_entropy(logits, batch.label) + 100 * F.mse_loss(matched, hint)
    torch.testing.assert_close(take_step(made, sgd(made), batch)["loss"], expected.detach())


def test_the_student_begins_as_it_would_alone() -> None:
    made = method(*HINT)
    alone = method_of("method=supervised", "model=resnet8", "model.width=4", info=INFO)
    encoder = {f"encoder.{name}": value for name, value in alone.encoder.state_dict().items()}
    head = {f"head.{name}": value for name, value in alone.head.state_dict().items()}
    own = made.student.state_dict()
    assert own.keys() == (encoder | head).keys()
    for name, value in (encoder | head).items():
        assert torch.equal(own[name], value), name


def test_the_teachers_part_rises_over_the_warm_up() -> None:
    made = method(*KD, "method.kd_warmup=0.5")
    update = sgd(made)
    shares = []
    for step in (0, 1, 5, 9):
        update.begin(step)
        shares.append(made.ramp(update))
    assert shares == [0.0, 0.2, 1.0, 1.0]


def other(**changed: Any) -> Pretrained:
    return replace(teacher(), **changed)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (other(info=DataInfo((3, 8, 8), CLASSES, (0.3,), (0.3,))), "images of"),
        (other(info=DataInfo((1, 8, 8), CLASSES[:9], (0.3,), (0.3,))), "on 9 classes"),
        (other(info=DataInfo((1, 8, 8), CLASSES, (0.5,), (0.3,))), "normalised differently"),
        (other(pixels="unit"), "normalised differently"),
        (other(model=None), "plain state dict"),
        (other(parts={"head": "head."}), "has no encoder"),
        (other(model=resnet(8)), "does not fit the model"),
        (other(parts={"backbone": "encoder."}), "compares logits, but .* has no classifier"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(source: Pretrained, said: str) -> None:
    with pytest.raises(UserError, match=said):
        method(*KD, source=source)


def test_a_teacher_without_a_classifier_can_still_give_features() -> None:
    source = other(parts={"backbone": "encoder."})
    made = method("loss=kd_cosine", source=source)
    told = take_step(made, sgd(made), batches()[0])
    assert told["loss"].isfinite()
    assert "agreement" not in told
    assert made.teach(batches()[0].image) is None


def test_a_map_and_a_vector_cannot_be_compared_by_a_hint() -> None:
    with pytest.raises(UserError, match="expected two vectors or two maps"):
        method(*HINT, "method.student_tap=stage2")
