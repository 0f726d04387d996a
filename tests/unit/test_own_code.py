"""What a user's own classes give is tried before training; a mistake is told with their line."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from parts import data_of, inference_on
from torch import Tensor, nn

from dlrun.data.table import Table
from dlrun.errors import CodeError, UserError
from dlrun.evaluation.rehearsal import rehearse
from dlrun.losses.base import bind, loss
from dlrun.methods.base import Method
from dlrun.models.cnn import CNN
from dlrun.models.rehearsal import check_network
from dlrun.registry import place, told
from dlrun.training.assemble import parameter_groups
from dlrun.training.loop import _check_names

HERE = "test_own_code.py"


# --- the line ------------------------------------------------------------------------------------


def raised(function: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        function()
    return caught.value.with_traceback(caught.tb.tb_next)  # without this file's own frame


def test_place() -> None:
    assert str(place(raised)).endswith(f"{HERE}:{raised.__code__.co_firstlineno}")
    assert place(CNN) is None and place(len) is None and place(3) is None


def test_the_line_is_that_of_the_code_that_gave_it_or_of_the_innermost_own_frame() -> None:
    assert str(told(CodeError("returned 3", raised))).endswith(f"{place(raised)}: returned 3")
    assert told(CodeError("returned 3", CNN)) == "returned 3"
    assert told(UserError("as it is")) == "as it is"
    inside = raised(lambda: torch.zeros(2).view(3))
    assert f"{HERE}:" in str(told(inside)) and "RuntimeError: shape '[3]'" in str(told(inside))


def test_where_dlrun_fails_on_what_own_code_gave_its_classes_are_named(
    project: Callable[[str, str], object],
) -> None:
    project("own_x.py", "class Mine:\n    pass\n")
    failed = raised(lambda: json.loads("{"))
    failed.__traceback__ = failed.__traceback__.tb_next  # type: ignore[union-attr]
    assert told(failed) is None
    said = str(told(failed, ["own_x:Mine"]))
    assert said.startswith("Mine at own_x.py:1: what it gave led to JSONDecodeError: Expecting")
    assert "decoder.py:" in said


# --- networks and losses -------------------------------------------------------------------------


def network(kind: str, gives: Callable[[Tensor], object], **attributes: Any) -> nn.Module:
    class Own(nn.Module):
        def forward(self, x: Tensor) -> object:
            return gives(x)

    Own.kind = kind  # type: ignore[attr-defined]
    made = Own()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def images(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3, 4, 4)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (network("encoder", images), "encoder needs feature_dim, an integer; Own does not have it"),
        (network("encoder", images, feature_dim=(3, 4)), "Own has a tuple: set self.feature_dim"),
        (network("encoder", images, feature_dim=3),
         r"Own returned a tensor \(2, 3, 4, 4\) for inputs \(2, 3, 4, 4\), expected features"),
        (network("encoder", lambda x: None, feature_dim=3), "Own returned None for inputs"),
        (network("decoder", lambda x: x, code_dim=5), r"expected logits of images \(2, 3, 4, 4\)"),
        (network("generator", lambda x: x[:, 1:]), r"returned a tensor \(2, 2, 4, 4\) for inputs"),
        (network("autoencoder", images, encoder=nn.Flatten(), hidden_dim=48),
         "autoencoder needs decoder; Own does not have it"),
        (network("autoencoder", images, encoder=nn.Flatten(), hidden_dim=48, decoder=nn.Identity),
         r"returned a tensor \(2, 3\) for inputs \(2, 3\), expected logits of images"),
        (network("autoencoder", images, encoder=nn.Flatten(), hidden_dim=47, decoder=nn.Identity),
         r"returned a tensor \(2, 48\) .* expected hidden features \(2, 47\)"),
    ],
)  # fmt: skip
def test_a_network_is_compared_with_its_kind(made: nn.Module, said: str) -> None:
    with pytest.raises(CodeError, match=said):
        check_network(made, (3, 4, 4))


def test_the_trial_leaves_weights_statistics_and_random_numbers() -> None:
    class Noisy(nn.Sequential):
        kind = "encoder"
        feature_dim = 4

    made = Noisy(nn.Flatten(), nn.BatchNorm1d(48), nn.LazyLinear(4), nn.Dropout())
    torch.manual_seed(1)
    check_network(made, (3, 4, 4))
    after = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(2))
    assert made.training and float(made[1].running_mean.sum()) == 0 and made[2].in_features == 48


def test_layers_that_do_not_fit() -> None:
    class Wrong(nn.Sequential):
        kind = "encoder"
        feature_dim = 4

    with pytest.raises(CodeError, match=r"with inputs \(2, 3, 4, 4\): RuntimeError: mat1 and mat2"):
        check_network(Wrong(nn.Flatten(), nn.Linear(47, 4)), (3, 4, 4))


@pytest.mark.parametrize("gives", [lambda x: x.mean(), lambda x: x, lambda x: None, lambda x: 0.5])
def test_a_loss_gives_one_for_each_image(gives: Callable[[Tensor], object]) -> None:
    @loss("logits")
    def formula(logits: Tensor, labels: Tensor) -> object:
        return gives(logits)

    class Formula(nn.Module):
        kind = "logits"
        Config = None

        def __init__(self, config: object) -> None:
            super().__init__()

        def forward(self, logits: Tensor, labels: Tensor) -> object:
            return gives(logits)

    for made in (bind(formula, SimpleNamespace()), bind(Formula, None)):
        with pytest.raises(CodeError, match=r"returned .*, expected \(4,\), one loss for each"):
            made(torch.zeros(4, 2), torch.zeros(4))


def test_a_loss_of_scores_gives_a_number() -> None:
    @loss("scores")
    def formula(scores: Tensor, real: bool, for_generator: bool = False) -> Tensor:
        return scores if real else scores.mean()

    made = bind(formula, SimpleNamespace())
    assert made.kind == "scores" and float(made(torch.ones(3), real=False)) == 1
    with pytest.raises(CodeError, match=r"returned a tensor \(3,\), expected a tensor \(\)"):
        made(torch.ones(3), real=True)


# --- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"pixels": "bytes"}, "pixels is 'bytes', expected one of"),
        ({"key_metric": 3}, "key_metric is 3, expected a metric's name or None"),
        ({"metrics": {"a": "higher"}}, "metrics is .*, expected a dict from a name to a Metric"),
        ({"metrics": ["a"]}, "metrics is .*, expected a dict from a name to a Metric"),
    ],
)
def test_class_attributes(attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        type("Mine", (Method,), attributes)


def table() -> Table:
    return Table(torch.zeros(4, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("abilities", "said"),
    [
        ({"predict": lambda self, x: torch.zeros(2, 3)},
         r"returned a tensor \(2, 3\), expected logits \(2, 2\)"),
        ({"embed": lambda self, x: x}, r"\(2, 3, 4, 4\), expected features \(2, D\)"),
        ({"embed": lambda self, x: None}, r"returned None, expected features \(2, D\)"),
        ({"project": lambda self, x: x[:, 0, 0, 0]}, r"expected projections \(2, D\)"),
        ({"posterior": lambda self, x: x}, r"expected mean and log-variance, each \(2, D\)"),
        ({"reconstruct": lambda self, x: x[:, :1]}, r"expected images in \[0, 1\] \(2, 3, 4, 4\)"),
        ({"sample": lambda self, n: torch.zeros(1, 3, 4, 4)}, r"expected images in \[0, 1\]"),
        ({"embed": lambda self, x: x[:, 0, 0], "decode": lambda self, x: x, "code_dim": 4},
         r"returned a tensor \(2, 4\), expected images in \[0, 1\]"),
        ({"translate": lambda self, x, way: way}, "returned a str, expected images"),
        ({"validate": lambda self, batch: {"knn": torch.zeros(2)},
          "embed": lambda self, x: x[:, 0, 0]}, "'knn', which dlrun measures itself"),
        ({"validate": lambda self, batch: {"a": torch.zeros(3)}}, r"expected a tensor \(2,\)"),
    ],
)  # fmt: skip
def test_abilities_are_tried(abilities: dict[str, Any], said: str) -> None:
    class Mine(Method):
        pass

    for name, ability in abilities.items():
        setattr(Mine, name, ability)
    inference = inference_on(Mine(), data_of(table(), table(), table()))
    with pytest.raises(CodeError, match=said):
        rehearse(inference)


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (lambda m: list(m.parameters()), r"parameter_groups\(\) returned a list, expected a dict"),
        (lambda m: {}, r"parameter_groups\(\) returned a dict, expected a dict"),
        (lambda m: {"a": []}, "has nothing in 'a'"),
        (lambda m: {"a": [m.layer.bias] * 2}, r"has layer\.bias twice in 'a'"),
        (lambda m: {"a": m.named_parameters()}, "has a tuple in 'a', which is no parameter of the"),
        (lambda m: {"a": nn.Linear(2, 2).parameters()}, r"has a parameter \(2, 2\) in 'a', which"),
    ],
)
def test_parameter_groups(groups: Callable[[Any], object], said: str) -> None:
    class Mine(Method):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def parameter_groups(self) -> Any:
            return groups(self)

    with pytest.raises(CodeError, match=said):
        parameter_groups(Mine())


def test_networks_in_a_list_are_not_seen() -> None:
    class Mine(Method):
        def __init__(self) -> None:
            super().__init__()
            self.layers = [nn.Linear(2, 2)]

    with pytest.raises(CodeError, match=r"has no parameters to train.*nn\.ModuleList"):
        parameter_groups(Mine())


def test_trained_networks_in_a_list_are_refused_beside_others() -> None:
    class Mine(Method):
        def __init__(self, trained: bool) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.known = [self.layer]
            self.others = {"a": nn.Linear(2, 2).requires_grad_(trained)}

    parameter_groups(Mine(False))
    with pytest.raises(CodeError, match=r"Mine.others has networks in a dict.*nn\.ModuleDict"):
        parameter_groups(Mine(True))


def test_names_of_a_steps_metrics() -> None:
    one, two = {"a": torch.ones(())}, {"a": torch.ones(()), "b": torch.ones(())}
    _check_names(["a"], [one, one], None)
    with pytest.raises(CodeError, match="returned a, b, but a before; expected the same names"):
        _check_names(["a"], [one, two], None)
