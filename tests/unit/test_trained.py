"""Taking weights over from another run: whole or not at all."""

import pytest
import torch
from torch import Tensor, nn

from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.base import Method
from dlrun.models.pretrained import (
    Pretrained,
    freeze,
    load_backbone,
    load_whole,
    same_normalization,
)

FACTS = DataInfo((1, 4, 4), ("a", "b"), (0.5,), (0.2,))


def encoder(width: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten())


def trained(network: nn.Module, **more: object) -> Pretrained:
    """As a run would leave it: the encoder, and a head and a projector beside it."""
    state = {f"encoder.{name}": value for name, value in network.state_dict().items()}
    state |= {"head.weight": torch.ones(2, 12), "projector.weight": torch.ones(1)}
    options = {
        "source": "outputs/x", "state": state, "parts": {"backbone": "encoder.", "head": "head."},
        "method": "supervised", "info": FACTS, "pixels": "standardized", "step": 7,
    }  # fmt: skip
    return Pretrained(**(options | more))  # type: ignore[arg-type]


def test_every_tensor_of_the_backbone_is_taken_also_buffers() -> None:
    there, here = encoder(), encoder()
    there[1].running_mean.fill_(3.0)  # type: ignore[operator, union-attr]
    lines = load_backbone(here, trained(there), FACTS)
    for name, value in there.state_dict().items():
        assert torch.equal(here.state_dict()[name], value), name
    assert lines == [
        "model.init_from: all 7 tensors of the backbone (36 parameters) loaded from outputs/x "
        "(supervised, step 7)",
        "model.init_from: not loaded: head, projector",
    ]


def test_other_classes_are_told() -> None:
    there = DataInfo((1, 4, 4), ("cat", "dog", "eel", "fox"), (0.5,), (0.2,))
    lines = load_backbone(encoder(), trained(encoder(), info=there), FACTS)
    assert lines[-1] == (
        "model.init_from: it was trained on other classes (4 classes (cat, dog, eel ...); here 2 "
        "classes (a, b))"
    )


def test_other_statistics_of_the_images_are_told() -> None:
    other = DataInfo((1, 4, 4), ("a", "b"), (0.3,), (0.2,))
    lines = load_backbone(encoder(), trained(encoder(), info=other), FACTS)
    assert lines[-1].endswith("(mean 0.300 there, 0.500 here)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("encoder.1.bias"), "1 of 7 tensors missing, such as 1.bias"),
        (
            lambda state: state.update({"encoder.9.weight": torch.ones(1)}),
            "1 left over, such as 9.weight",
        ),
        (
            lambda state: state.update({"encoder.0.weight": torch.ones(3, 2, 3, 3)}),
            r"1 of another shape, such as 0.weight: \[3, 2, 3, 3\] there, \[3, 1, 3, 3\] here",
        ),
    ],
)
def test_a_backbone_that_does_not_fit_is_refused_and_nothing_is_loaded(
    change: object, said: str
) -> None:
    source, here = trained(encoder()), encoder()
    change(source.state)  # type: ignore[operator]
    before = {name: value.clone() for name, value in here.state_dict().items()}
    with pytest.raises(UserError, match=said):
        load_backbone(here, source, FACTS)
    for name, value in before.items():
        assert torch.equal(here.state_dict()[name], value)


def test_what_has_no_backbone_is_refused() -> None:
    with pytest.raises(UserError, match="has no backbone"):
        load_backbone(encoder(), trained(encoder(), parts={}), FACTS)


def plain(network: nn.Module, **head: Tensor) -> Pretrained:
    state = dict(network.state_dict()) | head
    return Pretrained("resnet.pth", state, {"backbone": ""})


def test_of_a_plain_state_dict_the_last_layer_is_left_and_named() -> None:
    there, here = encoder(), encoder()
    source = plain(there, **{"fc.weight": torch.ones(2, 3), "fc.bias": torch.ones(2)})
    lines = load_backbone(here, source, FACTS)
    assert lines[1] == "model.init_from: not loaded: fc.bias, fc.weight"
    assert torch.equal(here[0].weight, there[0].weight)  # type: ignore[arg-type]


def test_of_a_plain_state_dict_nothing_but_the_last_layer_is_left() -> None:
    source = plain(encoder(), **{"neck.weight": torch.ones(1), "fc.weight": torch.ones(2, 3)})
    with pytest.raises(UserError, match=r"2 left over, such as neck\.weight"):
        load_backbone(encoder(), source, FACTS)


class Holder(Method):
    def __init__(self) -> None:
        super().__init__()
        self.frozen_part = freeze(encoder())
        self.other = encoder()


def test_what_is_frozen_gets_no_gradient_and_stays_in_eval_mode() -> None:
    method = Holder()
    for mode in (True, False, True):
        method.train(mode)
        assert not any(module.training for module in method.frozen_part.modules())
        assert all(module.training == mode for module in method.other.modules())
    before = method.frozen_part[1].running_mean.clone()  # type: ignore[operator, union-attr]
    method.frozen_part(torch.randn(5, 1, 4, 4)).sum()
    assert torch.equal(method.frozen_part[1].running_mean, before)  # type: ignore[arg-type]
    assert list(method.parameter_groups()["main"]) == list(method.other.parameters())


def test_load_whole_fills_a_network() -> None:
    there, here = nn.Linear(2, 3), nn.Linear(2, 3)
    load_whole(here, there.state_dict(), "x")
    assert torch.equal(here.weight, there.weight)


@pytest.mark.parametrize(
    ("mean", "same"), [((0.5,), True), ((0.505,), True), ((0.52,), False), ((0.5, 0.5), False)]
)
def test_normalisation_agrees_but_for_what_another_val_split_changes(
    mean: tuple[float, ...], same: bool
) -> None:
    other = DataInfo((1, 4, 4), ("a", "b"), mean, (0.2,) * len(mean))
    assert same_normalization(FACTS, other) == same


def test_counters_of_batch_norm_may_be_missing() -> None:
    network = torch.nn.BatchNorm1d(3)
    state = network.state_dict()
    del state["num_batches_tracked"]
    load_whole(network, state | {"weight": torch.full((3,), 2.0)}, "key")
    assert network.weight.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.ones(3).bool(), "weight is bool"),
        (torch.ones(3).to_sparse(), "not dense"),
        (torch.full((3,), torch.nan), "not finite"),
    ],
)
def test_weights_that_cannot_be_right_are_refused(value: torch.Tensor, reason: str) -> None:
    network = torch.nn.BatchNorm1d(3)
    with pytest.raises(UserError, match=reason):
        load_whole(network, network.state_dict() | {"weight": value}, "key")


def test_weights_with_the_stem_of_imagenet_say_which_option_has_it() -> None:
    there, here = (nn.ModuleDict({"conv1": nn.Conv2d(3, 4, side)}) for side in (7, 3))
    with pytest.raises(UserError, match=r"model\.stem=imagenet has the 7 x 7 convolution"):
        load_whole(here, there.state_dict(), "model.init_from=resnet18.pth")
