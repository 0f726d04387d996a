"""Plain values against types: what is taken, what is refused, and in which words."""

import math
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config.typed import WRONG, Typed, expected
from dlrun.errors import ConfigError
from dlrun.options import (
    Choice,
    Count,
    Duration,
    Fraction,
    Group,
    InSteps,
    NonEmpty,
    Pattern,
    Range,
    Units,
)
from dlrun.text import show

few = settings(deadline=None, max_examples=80, derandomize=True)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("auto")
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def read(hint: Any, value: Any) -> tuple[Any, list[str]]:
    typed = Typed()
    return typed.value(hint, value, "key"), typed.problems


@dataclass(frozen=True)
class Inner:
    rate: Fraction
    count: Count


@dataclass(frozen=True)
class Other:
    text: str


@dataclass(frozen=True)
class Outer:
    inner: Inner
    flag: bool
    note: str = "unchanged"


@pytest.mark.parametrize(
    ("hint", "value", "result"),
    [
        (bool, True, True),
        (int, 3, 3),
        (float, 3, 3.0),
        (float, 1e-3, 1e-3),
        (str, "a b", "a b"),
        (str, "", ""),
        (Any, {"x": [1]}, {"x": [1]}),
        (dict, {"x": 1}, {"x": 1}),
        (type(None), None, None),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, "auto"], 1, 1),
        (int | None, None, None),
        (int | None, 4, 4),
        (Count | Literal["auto"], "auto", "auto"),
        (Count | Literal["auto"], 2, 2),
        (Annotated[int | Literal["auto"], Range(1)], "auto", "auto"),
        (Annotated[float | None, Range(0)], None, None),
        (Fraction, 1, 1.0),
        (NonEmpty, "x", "x"),
        (tuple[float, float], [0, 1], (0.0, 1.0)),
        (tuple[int, ...], [], ()),
        (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
        (tuple[tuple[int, int], ...], [[1, 2], [3, 4]], ((1, 2), (3, 4))),
        (tuple[str, str] | None, None, None),
        (InSteps, 500, Duration(500, "steps")),
        (InSteps, "10%", Duration(10, "%")),
        (Annotated[Duration, Units(("s", "min"))], "5 min", Duration(5, "min")),
        (Inner, {"rate": 1, "count": 2}, Inner(1.0, 2)),
        (Inner | None, None, None),
        (Inner | Other, {"text": "x"}, Other("x")),
        (Other | Inner, {"rate": 0, "count": 1}, Inner(0.0, 1)),
    ],
)
def test_what_is_taken(hint: Any, value: Any, result: Any) -> None:
    given_type = type(result)
    converted, problems = read(hint, value)
    assert problems == []
    assert converted == result
    assert type(converted) is given_type


@pytest.mark.parametrize(
    ("hint", "value", "problem"),
    [
        (bool, 1, "key: got 1, expected true or false"),
        (bool, "true", "key: got 'true', expected true or false"),
        (int, True, "key: got true, expected an integer"),
        (int, 1.0, "key: got 1.0, expected an integer"),
        (int, "3", "key: got '3', expected an integer"),
        (int, None, "key: got null, expected an integer"),
        (int, [], "key: got [], expected an integer"),
        (float, True, "key: got true, expected a number"),
        (float, "1e-3", "key: got '1e-3', expected a number"),
        (float, math.nan, "key: got nan, expected a number"),
        (float, math.inf, "key: got inf, expected a number"),
        (float, -math.inf, "key: got -inf, expected a number"),
        (float, 10**400,
         f"key: got {10**59}…{10**18}, expected a number below 2^63".replace("…1", "…0")),
        (int, -(2**63) - 1, f"key: got {-(2**63) - 1}, expected a number below 2^63"),
        (str, 3, "key: got 3, expected text; in a YAML file, text like this needs quotes"),
        (str, None, "key: got null, expected text"),
        (str | None, True,
         "key: got true, expected text or null; in a YAML file, text like this needs quotes"),
        (NonEmpty, "", "key: got '', expected text (not empty)"),
        (Literal["a", "b"], "c", "key: got c, expected a or b"),
        (Literal[1, 2], True, "key: got true, expected 1 or 2"),
        (Literal[1, 2], 1.0, "key: got 1.0, expected 1 or 2"),
        (int | None, "x", "key: got x, expected an integer or null"),
        (Count | Literal["auto"], 0, "key: got 0, expected an integer >= 1 or auto"),
        (Count, 0, "key: got 0, expected an integer >= 1"),
        (Fraction, 1.5, "key: got 1.5, expected a number in [0, 1]"),
        (
            Annotated[str, Pattern("[a-c]+", "of a, b, c")],
            "d",
            "key: got d, expected text of a, b, c",
        ),
        (
            tuple[Fraction, Fraction],
            [0.5],
            "key: got [0.5], expected [a number in [0, 1], a number in [0, 1]]",
        ),
        (tuple[int, ...], [1, "x"], "key: got [1, x], expected a list [...], each an integer"),
        (tuple[int, ...], 1, "key: got 1, expected a list [...], each an integer"),
        (tuple[int, int], "ab", "key: got ab, expected [an integer, an integer]"),
        (InSteps, "3 parsecs", "key: got 3 parsecs, expected 500 (steps) or 2 epochs or 10%"),
        (InSteps, "30 s", "key: got 30 s, expected 500 (steps) or 2 epochs or 10%"),
        (Annotated[Duration, Units(("s", "min"))], 5, "key: got 5, expected 30 s or 5 min"),
        (Inner, 3, "key: got 3, expected a section of keys"),
        (Inner, None, "key: got null, expected a section of keys"),
        (int, {"a": None}, "key: got {a: null}, expected an integer"),
        (int, "a\nb", "key: got 'a\\nb', expected an integer"),
        (int, "???", "key: missing; give key=..., expected an integer"),
    ],
)  # fmt: skip
def test_what_is_refused_and_how_it_is_told(hint: Any, value: Any, problem: str) -> None:
    assert read(hint, value) == (WRONG, [problem])


@few
@given(values)
def test_scalars_are_never_guessed(value: Any) -> None:
    """Against the rule written down by itself."""
    finite = type(value) in (int, float) and abs(value) <= sys.float_info.max
    assert (read(bool, value)[0] is not WRONG) == isinstance(value, bool)
    assert (read(int, value)[0] is not WRONG) == (type(value) is int)
    assert (read(str, value)[0] is not WRONG) == isinstance(value, str)
    assert (read(float, value)[0] is not WRONG) == finite
    assert (read(Fraction, value)[0] is not WRONG) == (finite and 0 <= value <= 1)
    assert (read(int | None, value)[0] is not WRONG) == (type(value) is int or value is None)
    pair = isinstance(value, list) and [type(entry) for entry in value] == [int, int]
    assert (read(tuple[int, int], value)[0] is not WRONG) == pair


@few
@given(values)
def test_a_refusal_is_one_line_that_names_the_key(value: Any) -> None:
    for hint in (bool, int, float, str, Fraction, Literal["a"], tuple[int, ...], InSteps, Inner):
        converted, problems = read(hint, value)
        assert (converted is WRONG) == bool(problems)
        for problem in problems:
            assert problem.startswith("key")
            assert len(problem.splitlines()) == 1


def test_every_mistake_is_collected() -> None:
    typed = Typed()
    values = {"inner": {"rate": 2, "cuont": 1}, "flag": "yes", "nots": 1}
    assert typed.build(Outer, values) is WRONG
    assert typed.problems == [
        "nots: unknown key. Did you mean note?",
        "inner.cuont: unknown key. Did you mean inner.count?",
        "inner.rate: got 2, expected a number in [0, 1]",
        "inner.count: missing; expected an integer >= 1",
        "flag: got yes, expected true or false",
    ]


def test_what_has_a_default_may_be_left_out() -> None:
    built = Typed().build(Outer, {"inner": {"rate": 0, "count": 1}, "flag": True})
    assert built == Outer(Inner(0.0, 1), True, "unchanged")


def test_of_a_union_of_sections_the_nearest_is_explained() -> None:
    typed = Typed()
    assert typed.value(Other | Inner, {"rate": 5, "count": 1}, "key") is WRONG
    assert typed.problems == ["key.rate: got 5, expected a number in [0, 1]"]


def test_values_that_do_not_go_together() -> None:
    @dataclass(frozen=True)
    class Bounds:
        low: float
        high: float

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError(f"low: got {self.low}, expected at most high={self.high}")

    typed = Typed()
    assert typed.build(Bounds, {"low": 2, "high": 1}, "method") is WRONG
    assert typed.problems == ["method: low: got 2.0, expected at most high=1.0"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigError(["a: got 1, expected 2"]), "a: got 1, expected 2"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_other_errors_of_an_options_own_check(error: Exception, told: str) -> None:
    @dataclass(frozen=True)
    class Checked:
        def __post_init__(self) -> None:
            raise error

    typed = Typed()
    assert typed.build(Checked, {}, "loss") is WRONG
    assert typed.problems == [f"loss: {told}"]


@pytest.mark.parametrize("hint", [list[int], list, set, complex, bytes, Choice, Duration, tuple])
def test_a_type_that_cannot_be_checked_is_told_to_its_author(hint: Any) -> None:
    cls = dataclass(frozen=True)(type("Config", (), {"__annotations__": {"x": hint}}))
    typed = Typed()
    assert typed.build(cls, {"x": [1]}, "method") is WRONG
    assert len(typed.problems) == 1
    start = f"method.x: a Config cannot have the type {hint}; expected bool, int"
    assert typed.problems[0].startswith(start)


def test_an_annotation_that_names_nothing() -> None:
    cls = dataclass(frozen=True)(type("Config", (), {"__annotations__": {"x": "Nowhere"}}))
    typed = Typed()
    assert typed.build(cls, {"x": 1}, "method") is WRONG
    assert typed.problems == ["method: its types cannot be read: name 'Nowhere' is not defined"]


def test_class_variables_and_computed_fields_are_no_options() -> None:
    @dataclass
    class Config:
        known: ClassVar[int] = 3
        x: int
        twice: int = field(init=False, default=0)

    typed = Typed()
    assert typed.build(Config, {"x": 1}).x == 1
    typed.build(Config, {"x": 1, "known": 2, "twice": 2})
    assert typed.problems == [
        "known: unknown key; expected one of x",
        "twice: unknown key; expected one of x",
    ]


class TestChoice:
    hint = Annotated[Choice, Group("optimizer")]
    plain: ClassVar[dict[str, Any]] = {
        "name": "sgd", "lr": 1, "momentum": 1, "dampening": 0, "nesterov": True,
        "maximize": False, "weight_decay": 0, "clip_norm": None,
    }  # fmt: skip

    def test_is_read_with_its_options(self) -> None:
        from dlrun.training.optimizers import SGD

        choice, problems = read(self.hint, self.plain)
        assert problems == []
        assert choice == Choice("sgd", SGD.Config(1.0, 0.0, None, 1.0, 0.0, True, False))

    @pytest.mark.parametrize("value", [None, 3, "sgd", [], {}, {"lr": 1}, {"name": 3}])
    def test_needs_a_name(self, value: Any) -> None:
        _, problems = read(self.hint, value)
        what = "expected keys with a name, such as name: my_file:MyClass"
        assert problems == [f"key: got {show(value)}, {what}"]

    def test_tells_mistakes_by_their_whole_key(self) -> None:
        _, problems = read(self.hint, self.plain | {"lr": 0, "nestrov": 1, "momentum": "???"})
        assert problems == [
            "key.nestrov: unknown key. Did you mean key.nesterov?",
            "key.lr: got 0, expected a number > 0",
            "key.momentum: missing; give key.momentum=..., expected a number in [0, 1]",
        ]

    def test_of_an_unknown_name(self) -> None:
        _, problems = read(self.hint, {"name": "sdg"})
        assert problems[0].startswith("key.name: no optimizer is called 'sdg'. Did you mean sgd?")


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        (int, "an integer"),
        (Fraction, "a number in [0, 1]"),
        (Count | None, "an integer >= 1 or null"),
        (Literal["a", True, None], "a or true or null"),
        (Annotated[Choice, Group("model")], "a model"),
        (Annotated[Duration, Units(("%", "min"))], "10% or 5 min"),
        (tuple[Count, ...], "a list [...], each an integer >= 1"),
        (Inner, "a section of keys"),
    ],
)
def test_expected(hint: Any, said: str) -> None:
    assert expected(hint) == said
