"""What lies between an image and its logits, and what a teacher has once said of it."""

from typing import cast

import pytest
import torch
from parts import config_of, method_of, network_of
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import Labelled
from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.distill import Distill
from dlrun.models.classifier import Classifier, Memory, demand_path, last_map, tapped
from dlrun.models.pretrained import Pretrained


class Encoder(nn.Module):
    """Convolution, stage of two, and a function that is no module; then features (B, 4)."""

    feature_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3)
        self.stage = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
        self.pool = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.stage(F.relu(self.stem(x))))
        pooled: Tensor = self.pool(h.mean((2, 3)))
        return pooled


def network(num_classes: int | None = 3, dropout: float = 0.0) -> Classifier:
    torch.manual_seed(0)
    return Classifier(Encoder(), dropout, num_classes)


X = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_logits_are_the_linear_layer_of_the_features() -> None:
    made = network().eval()
    assert made.head is not None and made.head.out_features == 3
    assert torch.equal(made(X), made.head(made.encoder(X)))


def test_without_classes_the_features_are_the_output() -> None:
    made = network(None).eval()
    assert made.head is None and made(X).shape == (5, 4)
    assert torch.equal(made(X), made.encoder(X))
    assert not any(name.startswith("head") for name in made.state_dict())


def test_dropout_is_in_front_of_the_head_and_the_tapped_features_are_whole() -> None:
    made = network(dropout=0.9)
    torch.manual_seed(1)
    logits, features = tapped(made, "", X)
    assert made.head is not None
    torch.manual_seed(1)
    assert torch.equal(logits, made.head(F.dropout(features, 0.9)))
    assert (features != 0).all()


@pytest.mark.parametrize("path", ["", "stem", "stage", "stage.0", "stage.1", "pool"])
def test_a_tap_gives_what_the_module_gave_and_changes_nothing(path: str) -> None:
    made = network().eval()
    plain = made(X)
    logits, seen = tapped(made, path, X)
    assert torch.equal(logits, plain)
    stem = made.encoder.stem(X)  # type: ignore[operator]
    first = made.encoder.stage[0](F.relu(stem))  # type: ignore[index, operator]
    second = made.encoder.stage[1](first)  # type: ignore[index, operator]
    expected = {
        "": made.encoder(X), "stem": stem, "stage": second, "stage.0": first, "stage.1": second,
        "pool": made.encoder(X),
    }  # fmt: skip
    assert torch.equal(seen, expected[path])
    assert not any(module._forward_hooks for module in made.modules())


def test_gradients_flow_through_a_tap() -> None:
    made = network()
    tapped(made, "stage.0", X)[1].sum().backward()
    with_gradient = {name for name, p in made.named_parameters() if p.grad is not None}
    assert with_gradient == {f"encoder.{m}.{p}" for m in ("stem", "stage.0")
                             for p in ("weight", "bias")}  # fmt: skip


def test_a_hook_is_taken_away_also_where_the_network_fails() -> None:
    made = network()
    with pytest.raises(RuntimeError):
        tapped(made, "stage", torch.zeros(1, 7, 8, 8))
    assert not any(module._forward_hooks for module in made.modules())
    with pytest.raises(RuntimeError):
        last_map(made, torch.zeros(1, 7, 8, 8))
    assert not any(module._forward_hooks for module in made.modules())


def test_a_path_that_there_is_not_is_told_with_those_there_are() -> None:
    made = network()
    for path in ("", "stem", "stage.1"):
        demand_path(made, path, "x")
    with pytest.raises(UserError) as refusal:
        demand_path(made, "stage.2", "method.student_tap")
    assert str(refusal.value) == (
        "method.student_tap: got 'stage.2', expected the path of a module of the model, one of "
        "stem, stage, stage.0, stage.1, pool"
    )


# --- the last map --------------------------------------------------------------------------------


def test_the_last_map_is_the_outermost_that_ends_there() -> None:
    made = network().eval()
    assert last_map(made, X[:1]) == "stage"
    assert not any(module._forward_hooks for module in made.modules())


class Sequence(nn.Module):
    """Its modules in turn."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


class Twice(nn.Module):
    """Gives more than one thing, as attention does."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None


def of(*parts: nn.Module) -> str | None:
    return last_map(Classifier(Sequence(*parts), 0.0, None), torch.zeros(2, 1, 8, 8))


def test_a_network_of_vectors_has_no_map() -> None:
    assert of(nn.Flatten(), nn.Linear(64, 4)) is None


def test_a_module_that_gives_more_than_a_tensor_is_passed_over() -> None:
    assert of(nn.Conv2d(1, 4, 3), Twice(), nn.Flatten()) == "parts.0"


def test_a_map_of_one_pixel_is_none_to_attend_to() -> None:
    """Normalised, a single pixel is 1 for student and teacher alike: a loss that is always 0."""
    assert of(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()) == "parts.0"


ENCODERS = {
    "cnn": "features", "resnet20": "stage3", "vgg8": "stage5", "wrn16_2": "norm",
    "tutorial_teacher": "features", "resnet18": "network.layer4",
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
def test_the_last_map_of_the_models_on_board(name: str) -> None:
    model = config_of("method=supervised", f"model={name}").model
    made = Classifier(network_of(model, (3, 32, 32), 10), 0.0, 10).eval()
    x = torch.zeros(1, 3, 32, 32)
    path = last_map(made, x)
    assert path == ENCODERS[name]
    seen = tapped(made, path, x)[1]
    assert seen.ndim == 4 and min(seen.shape[2:]) > 1


class Residual(nn.Module):
    """Adds in place to what a module gave, as torchvision's blocks do."""

    feature_dim = 2

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.relu = nn.BatchNorm2d(2), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(x)
        out += 1
        features: Tensor = self.relu(out).mean((2, 3))
        return features


def test_a_tap_is_what_the_module_gave_and_not_what_was_made_of_it_in_place() -> None:
    made = Classifier(Residual(), 0.0, 3).eval()
    x = torch.randn(3, 2, 4, 4)
    _, seen = tapped(made, "norm", x)
    assert torch.equal(seen, made.encoder.norm(x))  # type: ignore[operator]


# --- a teacher's answers, remembered where images never change -----------------------------------

ROWS, BATCH = 12, 4
IMAGES = torch.randn(ROWS, 1, 8, 8, generator=torch.Generator().manual_seed(4))
LABELS = torch.arange(ROWS) % 3
FACTS = DataInfo((1, 8, 8), ("a", "b", "c"), (0.3,), (0.3,))


def distill(*overrides: str, augmented: bool = False) -> Distill:
    given = ("method=distill", "method.teacher=x", "model=resnet8", "model.width=4", *overrides)
    choice = config_of(*given).model
    torch.manual_seed(7)
    teacher = Classifier(network_of(choice, FACTS.image_shape, 3), 0.0, 3)
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm2d):
            cast(Tensor, module.running_mean).normal_(0, 0.1)
    trained = Pretrained(
        "x", teacher.state_dict(), {"backbone": "encoder.", "head": "head."}, "supervised", choice,
        FACTS, "standardized", 1,
    )  # fmt: skip
    made: Distill = method_of(
        *given, info=FACTS, rows=ROWS, augmented=augmented, pretrained=lambda _: trained
    )
    return made


def batch(*rows: int) -> Labelled:
    index = torch.tensor(rows)
    return Labelled(IMAGES[index], LABELS[index], index)


EPOCHS = [
    batch(0, 5, 2, 7), batch(1, 3, 11, 4),  # an epoch leaves the incomplete batch out
    batch(5, 3, 0, 1), batch(2, 8, 4, 7),  # row 8 is new
    batch(8, 11, 0, 2), batch(4, 1, 3, 5),
]  # fmt: skip
SEEN = [4, 4, 0, 4, 0, 0]
LOSSES = {
    "kd": (), "dkd": (), "kd_cosine": (), "attention": (),
    "hint": ("method.student_tap=stage2", "method.teacher_tap=stage1"),
}  # fmt: skip


class Spy:
    """Counts the images that go through a network, and takes plain steps."""

    progress = 0.5

    def __init__(self, method: Distill) -> None:
        self.images: list[int] = []
        self.step = 0
        method.teacher.register_forward_hook(self.count)
        self.sgd = torch.optim.SGD(list(method.parameter_groups()["main"]), lr=0.1)

    def count(self, _: nn.Module, given: tuple[Tensor], __: Tensor) -> None:
        self.images.append(len(given[0]))

    def minimize(self, loss: Tensor, name: str = "main") -> None:
        with torch.autocast("cpu", enabled=False):
            self.sgd.zero_grad()
            loss.backward()
            self.sgd.step()
        torch.clear_autocast_cache()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_remembered_gives_the_same_steps_bit_for_bit(loss: str, precision: str) -> None:
    method = distill(f"loss={loss}", *LOSSES[loss])
    plain = distill(f"loss={loss}", *LOSSES[loss], augmented=True)
    assert method.memory is not None and plain.memory is None
    spy, other = Spy(method), Spy(plain)
    for given, seen in zip(EPOCHS, SEEN, strict=True):
        spy.images.clear()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            told, expected = method.step(given, spy), plain.step(given, other)
        assert sum(spy.images) == seen
        assert told.keys() == expected.keys()
        assert all(torch.equal(told[name], expected[name]) for name in told)
    assert sum(other.images) == ROWS // BATCH * BATCH * 2
    state = plain.state_dict()
    assert method.state_dict().keys() == state.keys()
    for name, value in method.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_it_is_kept_only_where_images_are_as_they_are_and_it_is_not_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert distill(augmented=True).memory is None
    needed = 4 * 3 * ROWS  # logits in float32
    monkeypatch.setattr("dlrun.methods.distill.MEMORY_BYTES", needed)
    assert isinstance(distill().memory, Memory)
    monkeypatch.setattr("dlrun.methods.distill.MEMORY_BYTES", needed - 1)
    assert distill().memory is None
    monkeypatch.setattr("dlrun.methods.distill.MEMORY_BYTES", needed)
    assert distill("loss=kd_cosine").memory is None  # features besides


def test_evaluation_asks_the_teacher_and_not_the_memory() -> None:
    """Rows of other splits mean other images."""
    method = distill()
    method.step(EPOCHS[0], Spy(method))
    method.eval()
    with torch.inference_mode():
        assert torch.equal(cast(Tensor, method.teach(IMAGES)), method.teacher(IMAGES))
