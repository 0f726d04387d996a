"""The search space: what Hydra's syntax means, and what is wrong with it."""

import math
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution, IntDistribution

from dlrun.config.compose import composer
from dlrun.sweeps.space import Parameter, Space, read_space

PARSER = OverridesParser.create()


def read(*overrides: str) -> tuple[Space, list[str]]:
    with composer() as own:
        parsed, problems = own.parse(overrides, sweep=True, tune=True)
    assert problems == []
    return read_space(parsed)


def parameter(override: str) -> Parameter:
    """Of an override that names no config group, for which Hydra need not be asked."""
    space, problems = read_space([PARSER.parse_override(override)])
    assert problems == []
    (found,) = space.parameters
    return found


def draws(found: Parameter, count: int, seed: int = 0) -> list[Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask({found.key: found.distribution}).params[found.key] for _ in range(count)]


def typed(found: Parameter) -> list[str]:
    """All values of choices or a range."""
    return list(found.texts.values())


def read_back(text: str) -> Any:
    return PARSER.parse_override(f"key={text}").value()


FINITE = st.floats(-1e9, 1e9, allow_nan=False, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(low=FINITE, high=FINITE, tag=st.sampled_from([None, "log", "linear"]))
def test_an_interval_is_drawn_within_its_bounds_and_typed_in_full(
    low: float, high: float, tag: str | None
) -> None:
    low, high = min(low, high), max(low, high)
    if low == high or (tag == "log" and low <= 0):
        return
    text = f"interval({low!r},{high!r})"
    found = parameter(f"key={f'tag({tag},{text})' if tag else text}")
    log = tag == "log" if tag else low > 0 and high / low >= 10
    assert found.distribution == FloatDistribution(low, high, log=log)
    for value in draws(found, 3):
        assert low <= value <= high
        assert read_back(found.text(value)) == value


STEPS = st.sampled_from([-3, -1, 2, 7]) | st.sampled_from([0.1, 0.25, 1 / 3])


@settings(max_examples=60, deadline=None)
@given(start=st.integers(-50, 50) | st.floats(-2, 2), count=st.integers(2, 20), step=STEPS)
def test_a_range_has_exactly_the_numbers_of_hydras(start: float, count: int, step: float) -> None:
    text = f"key=range({start!r},{start + count * step!r},{step!r})"
    own = sorted(PARSER.parse_override(text).sweep_iterator())  # type: ignore[type-var]
    found = parameter(text)
    assert [read_back(text) for text in typed(found)] == own
    assert {read_back(found.text(value)) for value in draws(found, 20)} <= set(own)


@pytest.mark.parametrize(
    ("text", "texts"),
    [
        ("method.beta=choice(.5,1,4)", ("0.5", "1", "4")),
        ("model=mlp,cnn", ("mlp", "cnn")),
        ("model.hidden=[32],[64,64]", ("[32]", "[64,64]")),
        ("steps=null,5", ("null", "5")),
        ("a='x,y','z'", ("'x,y'", "'z'")),
        ("model=glob(resnet8*)", ("resnet8", "resnet8x4")),
        ("epochs=1,2,1", ("1", "2")),
        ("seed=range(3,4)", ("3",)),
    ],
)
def test_choices_are_typed_as_hydra_would(text: str, texts: tuple[str, ...]) -> None:
    space, _ = read(text)
    (found,) = space.parameters
    assert typed(found) == list(texts)
    assert {found.text(value) for value in draws(found, 20)} == set(texts)


@pytest.mark.parametrize(
    ("text", "low", "high", "log", "whole"),
    [
        ("int(interval(8,64))", 8, 64, False, True),
        ("int(interval(8,80))", 8, 80, True, True),
        ("interval(8,64)", 8.0, 64.0, False, False),
        ("interval(1e-4,1e-2)", 1e-4, 1e-2, True, False),
        ("interval(0,1)", 0.0, 1.0, False, False),
        ("tag(linear,interval(1e-4,1e-2))", 1e-4, 1e-2, False, False),
        ("tag(log,interval(2,3))", 2.0, 3.0, True, False),
        ("tag(log,int(interval(2,9)))", 2, 9, True, True),
        ("tag(log,range(1,9))", 1, 8, True, True),
    ],
)
def test_scales(text: str, low: float, high: float, log: bool, whole: bool) -> None:
    found = parameter(f"key={text}")
    kind = IntDistribution if whole else FloatDistribution
    assert found.distribution == kind(low, high, log=log)
    assert all(isinstance(value, int) == whole for value in draws(found, 5))
    assert ("on a log scale" in str(found)) == log
    assert ("tag(linear,...)" in str(found)) == (log and "tag" not in text)


def test_a_log_scale_draws_each_decade_as_often() -> None:
    values = draws(parameter("key=interval(1e-4,1e-2)"), 300)
    low = sum(value < 1e-3 for value in values) / len(values)
    assert abs(low - 0.5) < 3 * math.sqrt(0.25 / 300)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key=interval(1,1)", "expected the lower bound first and a higher one second"),
        ("key=interval(2,1)", "expected the lower bound first and a higher one second"),
        ("key=interval(1,inf)", "expected finite bounds"),
        ("key=tag(log,interval(0,1))", "a log scale needs bounds > 0, got 0"),
        ("key=tag(log,range(0,5))", "a log scale needs values > 0, got 0"),
        ("key=tag(log,range(1,5,2))", "a log scale is for intervals and ranges of integers in"),
        ("key=tag(lgo,interval(1,2))", "tag lgo: expected log or linear"),
        ("key=tag(log,linear,interval(1,2))", "has the tags log and linear"),
        ("key=tag(log,choice(1,2))", "choices have no scale"),
        ("key=range(0,1000000)", "more than 10000 values"),
        ("name=a,b", "does not change what a run computes"),
        ("sweep.jobs=1,2", "does not change what a run computes"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    _, problems = read(text)
    assert len(problems) == 1 and problems[0].startswith(f"{text}: {message}")


def test_a_key_given_twice() -> None:
    assert read("epochs=3", "epochs=1,2")[1] == [
        "epochs: given more than once; give a key that is searched once"
    ]


def test_a_trial_has_what_was_typed_in_its_order_and_the_studys_own_keys_left_out() -> None:
    space, problems = read(
        "method=vae", "optimizer.lr=interval(1e-3,1)", "sweep.jobs=2", "epochs=3",
        "seed=range(0,4,2)", "tune.trials=5",
    )  # fmt: skip
    assert problems == []
    drawn = {"optimizer.lr": 0.012345678, "seed": 2}
    assert space.overrides(drawn) == [
        "method=vae", "optimizer.lr=0.012345678", "epochs=3", "seed=2",
    ]  # fmt: skip
    assert space.label(drawn) == "optimizer.lr=0.01235 seed=2"
    assert space.grid() is None
    assert read("a=1,2", "b=range(0,1,.5)")[0].grid() == {"a": ["1", "2"], "b": [0, 1]}
