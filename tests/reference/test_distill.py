"""Distillation against the lecture notes' teacher-student loop, executed literally."""

import copy
from typing import Any

import pytest
import torch
from parts import network_of
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import Labelled
from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.base import Builder, Update
from dlrun.methods.distill import Distill
from dlrun.methods.supervised import Supervised
from dlrun.models.classifier import Classifier, tapped
from dlrun.models.pretrained import Pretrained
from dlrun.options import Choice
from dlrun.registry import lookup

CLASSES = tuple("0123456789")
FACTS = DataInfo((1, 8, 8), CLASSES, (0.3,), (0.3,))
TOTAL = 10


def resnet(width: int) -> Choice:
    config = lookup("model", "resnet").Config
    return Choice("resnet", config(depth=8, width=width, stem=None, init_from=None, freeze=None))


def teacher(width: int = 6) -> Pretrained:
    torch.manual_seed(7)
    network = Classifier(network_of(resnet(width), FACTS.image_shape, 10), 0.0, 10)
    for module in network.modules():  # statistics that differ from a batch's
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1)
    return Pretrained(
        "outputs/teacher", network.state_dict(), {"backbone": "encoder.", "head": "head."},
        "supervised", resnet(width), FACTS, "standardized", 100,
    )  # fmt: skip


def loss_choice(name: str, **options: Any) -> Choice:
    return Choice(name, lookup("loss", name).Config(**options))


KD = {"ce_weight": 0.25, "kd_weight": 0.75, "temperature": 2.0}


def method(
    loss: Choice, source: Pretrained | None = None, width: int = 4, **options: Any
) -> Distill:
    build = Builder(resnet(width), loss, FACTS, pretrained=lambda _: source or teacher())
    torch.manual_seed(0)
    config = {
        "teacher": "outputs/teacher", "teacher_model": resnet(6), "teacher_epochs": None,
        "teacher_seed": 0, "baseline": False, "dropout": 0.0, "student_tap": None,
        "teacher_tap": None, "kd_warmup": 0.0,
    }  # fmt: skip
    made = Distill(Distill.Config(**(config | options)), build)
    return made.train()


class PlainUpdate:
    """SGD and nothing else."""

    def __init__(self, made: Distill) -> None:
        groups = made.parameter_groups()
        self.sgd = torch.optim.SGD([p for p in groups["main"] if p.requires_grad], lr=0.1)
        self.step = 0

    @property
    def progress(self) -> float:
        return self.step / TOTAL

    def minimize(self, loss: Tensor, name: str = "main") -> None:
        self.sgd.zero_grad()
        loss.backward()
        self.sgd.step()


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
    made = method(loss_choice("kd", **KD, standardize=False))
    student, frozen = copy.deepcopy(made.student), copy.deepcopy(made.teacher)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    t, alpha, beta = 2.0, 0.25, 0.75 * 2.0**2
    update: Update = PlainUpdate(made)
    for batch in batches():
        told = made.step(batch, update)

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

        torch.testing.assert_close(told["loss"], total_loss)
    for mine, theirs in zip(made.student.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_the_notes_soft_cross_entropy_takes_the_same_steps() -> None:
    first = method(loss_choice("kd", **KD, standardize=False))
    second = method(loss_choice("kd_cross_entropy", **KD))
    for made in (first, second):
        update = PlainUpdate(made)
        for batch in batches():
            made.step(batch, update)
    assert_same_weights(first.student, second.student)


@pytest.mark.parametrize(
    ("loss", "student_tap", "teacher_tap"),
    [
        (loss_choice("kd", **KD, standardize=True), None, None),
        (
            loss_choice("dkd", ce_weight=1.0, kd_weight=1.0, alpha=1.0, beta=8.0, temperature=4.0),
            None,
            None,
        ),
        (loss_choice("kd_cosine", ce_weight=0.25, kd_weight=0.75), "stage2", "stage2"),
        (loss_choice("hint", ce_weight=1.0, kd_weight=100.0), "stage2", "stage1"),
        (loss_choice("attention", ce_weight=1.0, kd_weight=1000.0), None, None),
    ],
    ids=["standardized", "decoupled", "cosine", "hint", "attention"],
)  # fmt: skip
def test_the_teacher_is_in_eval_mode_and_nothing_of_it_moves(
    loss: Choice, student_tap: str | None, teacher_tap: str | None
) -> None:
    made = method(loss, student_tap=student_tap, teacher_tap=teacher_tap)
    before = {name: value.clone() for name, value in made.teacher.state_dict().items()}
    update = PlainUpdate(made)
    for batch in batches():
        made.train()
        assert not any(module.training for module in made.teacher.modules())
        made.step(batch, update)
    for name, value in made.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None and not p.requires_grad for p in made.teacher.parameters())
    held = {id(p) for p in made.parameter_groups()["main"]}
    assert not held & {id(p) for p in made.teacher.parameters()}


def test_the_regressor_is_trained_and_in_the_state() -> None:
    made = method(
        loss_choice("hint", ce_weight=1.0, kd_weight=100.0), student_tap="stage2",
        teacher_tap="stage1",
    )  # fmt: skip
    names = {name for name in made.state_dict() if name.startswith("regressor.")}
    assert "regressor.layer.0.weight" in names
    held = {id(p) for p in made.parameter_groups()["main"]}
    assert {id(p) for p in made.regressor.parameters()} <= held
    before = made.regressor.layer[0].weight.clone()  # type: ignore[union-attr, index]
    made.step(batches()[0], PlainUpdate(made))
    assert not torch.equal(made.regressor.layer[0].weight, before)  # type: ignore[union-attr, index]


def test_the_hint_loss_by_hand() -> None:
    """FitNets' equation 3 on maps of unlike width and size, in one stage with cross-entropy."""
    made = method(
        loss_choice("hint", ce_weight=1.0, kd_weight=100.0), student_tap="stage2",
        teacher_tap="stage1",
    )  # fmt: skip
    twin, batch = copy.deepcopy(made), batches()[0]
    logits, guided = tapped(twin.student, "stage2", batch.image)
    x = batch.image
    hint = twin.teacher.encoder.stage1(twin.teacher.encoder.stem(x))  # type: ignore[operator, union-attr]
    conv, norm = twin.regressor.layer  # type: ignore[union-attr, misc]
    matched = norm(conv(F.adaptive_avg_pool2d(guided, hint.shape[2:])))
    expected = F.cross_entropy(logits, batch.label) + 100 * F.mse_loss(matched, hint)
    torch.testing.assert_close(made.step(batch, PlainUpdate(made))["loss"], expected)


def test_a_tap_sees_what_the_module_gives_and_leaves_no_hook() -> None:
    made = method(loss_choice("kd", **KD, standardize=False)).eval()
    x = batches()[0].image
    encoder = made.student.encoder
    _, seen = tapped(made.student, "stage1", x)
    assert torch.equal(seen, encoder.stage1(encoder.stem(x)))  # type: ignore[operator, union-attr]
    assert torch.equal(tapped(made.student, "", x)[1], encoder(x))
    assert not any(module._forward_hooks for module in made.modules())


def test_the_student_begins_as_it_would_alone() -> None:
    made = method(loss_choice("hint", ce_weight=1.0, kd_weight=100.0))
    build = Builder(resnet(4), loss_choice("cross_entropy", label_smoothing=0.0), FACTS)
    torch.manual_seed(0)
    alone = Supervised(Supervised.Config(dropout=0.0, l1=0.0, l2=0.0), build)
    encoder = {f"encoder.{name}": value for name, value in alone.encoder.state_dict().items()}
    head = {f"head.{name}": value for name, value in alone.head.state_dict().items()}
    own = made.student.state_dict()
    assert own.keys() == (encoder | head).keys()
    for name, value in (encoder | head).items():
        assert torch.equal(own[name], value), name


def test_the_teachers_part_rises_over_the_warm_up() -> None:
    made = method(loss_choice("kd", **KD, standardize=False), kd_warmup=0.5)
    update = PlainUpdate(made)
    shares = []
    for step in (0, 1, 5, 9):
        update.step = step
        shares.append(made.ramp(update))
    assert shares == [0.0, 0.2, 1.0, 1.0]


def other(**changed: Any) -> Pretrained:
    source = teacher()
    fields = {name: getattr(source, name) for name in source.__dataclass_fields__}
    return Pretrained(**(fields | changed))


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
        method(loss_choice("kd", **KD, standardize=False), source)


def test_a_teacher_without_a_classifier_can_still_give_features() -> None:
    source = other(parts={"backbone": "encoder."})
    made = method(loss_choice("kd_cosine", ce_weight=0.25, kd_weight=0.75), source)
    told = made.step(batches()[0], PlainUpdate(made))
    assert told["loss"].isfinite()
    assert "agreement" not in told
    assert made.teach(batches()[0].image) is None


def test_a_wrong_tap_is_told_with_the_paths_there_are() -> None:
    with pytest.raises(UserError, match=r"student_tap: got 'layer2'.*stage1, .*stage3"):
        method(loss_choice("hint", ce_weight=1.0, kd_weight=1.0), student_tap="layer2")


def test_a_map_and_a_vector_cannot_be_compared_by_a_hint() -> None:
    with pytest.raises(UserError, match="expected two vectors or two maps"):
        method(loss_choice("hint", ce_weight=1.0, kd_weight=1.0), student_tap="stage2")
