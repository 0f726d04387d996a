"""What holds for every loss of the config that gives one number a sample."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dlrun.config.typed import Typed
from dlrun.losses.base import bind, loss
from dlrun.options import NonNegative
from dlrun.registry import lookup, names

CONF = Path(__file__).parents[2] / "conf" / "loss"
KINDS = {"logits", "values", "images", "vectors", "scores", "triplets", "distillation"}
SAMPLED = {"logits", "values", "triplets", "distillation", "vectors"}
# Of the others, another file's tests; capsules are no plain logits.
OPTIONS = sorted(file.stem for file in CONF.glob("*.yaml") if file.stem != "margin")


def section(option: str) -> dict[str, Any]:
    text: dict[str, Any] = yaml.safe_load((CONF / f"{option}.yaml").read_text())
    return text


def built(option: str, **changes: Any) -> Any:
    typed = Typed()
    choice = typed.choice("loss", section(option) | changes, "loss")
    assert not typed.problems
    return bind(lookup("loss", choice.name), choice.options)


def kinds(loss: Any) -> tuple[str, ...]:
    return (loss.kind,) if isinstance(loss.kind, str) else loss.kind


def inputs(loss: Any, kind: str, batch: int, width: int, scale: float) -> tuple[Tensor, ...]:
    """Tensors of which the first is what is trained; `scale` is the size of all that is no label.

    Of the extreme ones each value is plus or minus `scale`.
    """
    shape = (batch, width)
    labels = torch.randint(width, (batch,))
    if kind == "values":
        return _drawn((batch,), scale), _drawn((batch,), scale)
    if kind == "logits":
        return _drawn(shape, scale), labels
    if kind == "triplets":
        return _drawn(shape, scale), _drawn(shape, scale), _drawn(shape, scale)
    if kind == "vectors":
        return _drawn(shape, scale), _drawn(shape, scale)
    if loss.compares == "maps":
        return _drawn((*shape, 5, 3), scale), _drawn((batch, width + 2, 3, 4), scale), labels
    other = shape if loss.regressor or loss.compares == "logits" else (batch, width + 3)
    return _drawn(shape, scale), _drawn(other, scale), labels


def _drawn(shape: tuple[int, ...], scale: float) -> Tensor:
    drawn = torch.randn(shape)
    return scale * (drawn.sign() if scale > 100 else drawn)


PER_SAMPLE = [
    (option, kind) for option in OPTIONS for kind in kinds(built(option)) if kind in SAMPLED
]
VARIANTS = [("focal", {"gamma": 0.5, "alpha": 0.25}), ("hinge", {"squared": True}),
            ("multi_margin", {"p": 2}), ("triplet", {"squared": True}),
            ("binary_focal", {"gamma": 0.5, "alpha": 0.25})]  # fmt: skip
CASES = [(option, kind, {}) for option, kind in PER_SAMPLE] + [
    (option, "triplets" if option == "triplet" else "logits", changes)
    for option, changes in VARIANTS
]


def test_every_loss_that_is_known_has_an_option() -> None:
    known = {section(option)["name"] for option in OPTIONS} | {"margin"}
    assert known == set(names("loss"))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_builds_tells_its_kind_and_has_nothing_to_train(option: str) -> None:
    loss = built(option)
    assert set(kinds(loss)) <= KINDS
    if isinstance(loss, nn.Module):
        assert not list(loss.parameters())
    else:
        assert loss.func is lookup("loss", section(option)["name"])
        assert set(loss.keywords) <= set(section(option))


@pytest.mark.parametrize(("option", "kind", "changes"), CASES)
@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    batch=st.integers(0, 5), width=st.integers(2, 9), scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]), seed=st.integers(0, 999),
)  # fmt: skip
@example(batch=0, width=3, scale=1.0, dtype=torch.float32, seed=0)
@example(batch=1, width=2, scale=1e4, dtype=torch.float16, seed=0)
@example(batch=1, width=2, scale=0.0, dtype=torch.bfloat16, seed=0)
def test_one_finite_float32_number_a_sample_with_finite_gradients(
    option: str, kind: str, changes: dict[str, Any],
    batch: int, width: int, scale: float, dtype: torch.dtype, seed: int,
) -> None:  # fmt: skip
    """And that of half-precision inputs is that of the same numbers in float32, bit for bit."""
    torch.manual_seed(seed)
    loss = built(option, **changes)
    given = [
        x.to(dtype) if x.is_floating_point() else x for x in inputs(loss, kind, batch, width, scale)
    ]
    given[0].requires_grad_()
    values = loss(*given)
    assert values.shape == (batch,)
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    full = loss(*(x.float() if x.is_floating_point() else x for x in given))
    assert torch.equal(values, full)
    (gradient,) = torch.autograd.grad(values.sum(), given[0])
    assert gradient.shape == given[0].shape
    # In the type of the output, fp16 may overflow; loss scaling is there for that.
    assert dtype == torch.float16 or gradient.isfinite().all()


@pytest.mark.parametrize(("option", "kind", "changes"), CASES)
def test_autocast_makes_no_difference(option: str, kind: str, changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    loss = built(option, **changes)
    given = inputs(loss, kind, 4, 6, 2.0)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(*given)
    assert torch.equal(inside, loss(*given))


@pytest.mark.parametrize(("option", "kind", "changes"), CASES)
def test_each_number_is_that_of_its_sample_alone(
    option: str, kind: str, changes: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    loss = built(option, **changes)
    given = inputs(loss, kind, 4, 6, 2.0)
    alone = torch.cat([loss(*(x[i : i + 1] for x in given)) for i in range(4)])
    torch.testing.assert_close(loss(*given), alone, rtol=1e-5, atol=1e-6)
    assert len(set(alone.tolist())) > 1


@pytest.mark.parametrize("option", [option for option, kind in PER_SAMPLE if kind == "logits"])
def test_a_class_that_no_image_has_is_no_matter(option: str) -> None:
    """All are of class 2 of 5: finite, and learning it brings the loss down."""
    torch.manual_seed(0)
    loss = built(option)
    logits, labels = torch.randn(6, 5, requires_grad=True), torch.full((6,), 2)
    before = loss(logits, labels)
    (gradient,) = torch.autograd.grad(before.sum(), logits)
    after = loss(logits - 0.1 * gradient, labels)
    assert before.isfinite().all() and gradient.isfinite().all()
    assert (after <= before).all() and (after < before).any()


# --- losses as functions -------------------------------------------------------------------------


def check_order(options: Any) -> None:
    if options.low > options.high:
        raise ValueError("low: above high")


@loss("logits", "values", check=check_order, flavour="sweet")
def between(x: Tensor, *, low: NonNegative, high: NonNegative = 1.0) -> Tensor:
    return x.clamp(low, high)


def test_the_options_of_a_function_are_its_keyword_only_parameters() -> None:
    typed = Typed()
    options = typed.build(between.Config, {"low": 0.25, "high": 0.5})
    bound = bind(between, options)
    assert bound(torch.tensor([0.0, 1.0])).tolist() == [0.25, 0.5]
    assert (bound.kind, bound.flavour, bound.config) == (("logits", "values"), "sweet", options)
    assert between(torch.tensor(3.0), low=0.0) == 1  # by itself it is the function that it was


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"low": 0.5}, "high: missing; expected a number >= 0"),  # the values are the YAML's
        ({"low": -1.0, "high": 1.0}, "low: got -1.0, expected a number >= 0"),
        ({"low": 2.0, "high": 1.0}, "Config: low: above high"),
        ({"low": 0.0, "high": 1.0, "x": 1.0}, "x: unknown key"),
    ],
)
def test_wrong_options_of_a_function(given: dict[str, float], said: str) -> None:
    typed = Typed()
    typed.build(between.Config, given)
    (problem,) = typed.problems
    assert problem.startswith(said)


def test_an_option_that_is_no_keyword_says_so() -> None:
    @loss("logits")
    def own(logits: Tensor, labels: Tensor, alpha: NonNegative = 0.5) -> Tensor:
        return logits

    typed = Typed()
    typed.build(own.Config, {"alpha": 1.0})  # type: ignore[attr-defined]
    (problem,) = typed.problems
    assert problem == "alpha: unknown key; the options of a function stand behind a *, as in " + (
        "(*, alpha: float)"
    )


def test_an_option_without_a_type_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="option gamma has no type; write one, as gamma: NonNeg"):

        @loss("logits")
        def own(logits: Tensor, labels: Tensor, *, gamma=1.0) -> Tensor:  # type: ignore[no-untyped-def]
            return logits
