"""The vocabulary of options: ranges, patterns and lengths of training."""

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.options import Duration, NonEmpty, Pattern, Range

few = settings(deadline=None, max_examples=60, derandomize=True)


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "said"),
    [
        (Range(0, 1), (0, 0.5, 1), (-1e-9, 1.0001), "in [0, 1]"),
        (Range(0, 1, low_open=True), (1e-9, 1), (0,), "in (0, 1]"),
        (Range(0, 1, high_open=True), (0, 0.999), (1,), "in [0, 1)"),
        (Range(0, 1, low_open=True, high_open=True), (0.5,), (0, 1), "in (0, 1)"),
        (Range(1), (1, 10**9), (0, -5), ">= 1"),
        (Range(0, low_open=True), (1e-12,), (0, -1), "> 0"),
        (Range(high=5), (5, -100), (5.1,), "<= 5"),
        (Range(high=5, high_open=True), (4.9,), (5,), "< 5"),
        (Range(), (-1e300, 0, 1e300), (), ""),
    ],
)
def test_range(
    bounds: Range, inside: tuple[float, ...], outside: tuple[float, ...], said: str
) -> None:
    assert all(bounds.holds(value) for value in inside)
    assert not any(bounds.holds(value) for value in outside)
    assert str(bounds) == said


@few
@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(-10, 10), st.booleans(), st.booleans())
def test_range_is_the_interval(
    low: float, high: float, value: float, low_open: bool, high_open: bool
) -> None:
    above = low < value if low_open else low <= value
    below = value < high if high_open else value <= high
    assert Range(low, high, low_open, high_open).holds(value) == (above and below)


def test_pattern_matches_from_end_to_end() -> None:
    pattern = Pattern("[a-z]+", "of small letters")
    assert pattern.holds("abc")
    assert not pattern.holds("abc1")
    assert not pattern.holds("1abc")
    assert not pattern.holds("abc\n")
    assert str(pattern) == "of small letters"


def test_non_empty_text() -> None:
    pattern = get_args(NonEmpty)[1]
    assert pattern.holds("a")
    assert pattern.holds(" a\nb ")
    assert not pattern.holds("")
    assert not pattern.holds(" \n\t")


@pytest.mark.parametrize(
    ("given", "amount", "unit"),
    [
        (500, 500, "steps"),
        ("500", 500, "steps"),
        ("500 steps", 500, "steps"),
        ("1 step", 1, "steps"),
        ("2 epochs", 2, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("0.5ep", 0.5, "epochs"),
        ("10%", 10, "%"),
        ("2.5 %", 2.5, "%"),
        (" 30 s ", 30, "s"),
        ("30 sec", 30, "s"),
        ("5min", 5, "min"),
    ],
)
def test_duration_is_read(given: int | str, amount: float, unit: str) -> None:
    assert Duration.parse(given) == Duration(amount, unit)


@pytest.mark.parametrize(
    "given",
    [
        0, -1, True, False, None, 2.0, [], {}, "", " ", "0", "0%", "-5", "1.5", "1.5 steps",
        "3 parsecs", "epochs", "1e3", "10 %%", "nan", "inf", "1 2", "5 MIN", "9" * 400 + " epochs",
    ],
)  # fmt: skip
def test_what_is_no_duration(given: object) -> None:
    assert Duration.parse(given) is None


@few
@given(
    st.one_of(st.integers(1, 10**18), st.floats(1e-12, 1e20)),
    st.sampled_from(["epochs", "%", "s", "min"]),
)
def test_duration_reads_what_it_writes(amount: float, unit: str) -> None:
    duration = Duration(float(amount), unit)
    assert Duration.parse(str(duration)) == duration


def test_duration_is_written_without_an_exponent() -> None:
    assert str(Duration(2.0, "epochs")) == "2 epochs"
    assert str(Duration(0.00001, "%")) == "0.00001%"
    assert str(Duration(1e16, "s")) == "10000000000000000 s"


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        (Duration(500, "steps"), 500),
        (Duration(2, "epochs"), 56),
        (Duration(0.5, "epochs"), 14),
        (Duration(10, "%"), 100),
        (Duration(0.001, "%"), 1),
        (Duration(200, "%"), 2000),
    ],
)
def test_duration_in_steps(duration: Duration, steps: int) -> None:
    assert duration.steps(steps_per_epoch=28, total=1000) == steps


def test_duration_in_seconds() -> None:
    assert Duration(30, "s").seconds == 30
    assert Duration(5, "min").seconds == 300
    assert Duration(5, "epochs").seconds is None
    with pytest.raises(ValueError, match="5 min is a time, not a number of steps"):
        Duration(5, "min").steps(28, 1000)
