"""Learning rates by their closed forms."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrun.config.compose import compose_plain
from dlrun.options import Choice, Duration
from dlrun.registry import lookup
from dlrun.training.schedules import rate_factor


def choice(name: str, warmup: Duration | None = None, **options: Any) -> Choice:
    return Choice(name, lookup("schedule", name).Config(warmup=warmup, **options))


def curve(schedule: Choice, total: int, steps_per_epoch: int = 10) -> list[float]:
    return [rate_factor(schedule, step, total, steps_per_epoch) for step in range(total)]


def test_constant() -> None:
    assert curve(choice("constant"), 7) == [1] * 7


def test_cosine_is_torchs() -> None:
    total = 20
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    got = curve(choice("cosine"), total)
    assert got == pytest.approx(expected)
    assert got[0] == 1
    assert got[total // 2] == pytest.approx(0.5)
    assert 0 < got[-1] == pytest.approx((1 + math.cos(math.pi * 19 / 20)) / 2)


def test_linear_is_constant_and_then_a_straight_line_to_zero() -> None:
    got = curve(choice("linear", constant=0.5), 10)
    assert got == pytest.approx([1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert curve(choice("linear", constant=0.0), 4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert curve(choice("linear", constant=1.0), 4) == [1] * 4  # and no division by zero


@pytest.mark.parametrize("batches", [1, 3])
def test_the_shipped_linear_is_cyclegans_rate(batches: int) -> None:
    """Section 5: the same for 100 epochs, then linearly to zero over the next 100.

    The authors' code lowers it once an epoch, by `max(0, epoch + 1 - 100) / 101`: a stair that lies
    within a step of it, 1/100, of the line.
    """
    shipped = compose_plain(["method=cyclegan"], None)
    assert shipped["epochs"] == 200
    options = {key: value for key, value in shipped["schedule"].items() if key != "name"}
    schedule = choice(shipped["schedule"]["name"], **options)
    got = curve(schedule, 200 * batches, batches)
    for step, factor in enumerate(got):
        epoch = step / batches
        assert factor == pytest.approx(1.0 if epoch < 100 else (200 - epoch) / 100)
        stair = 1.0 - max(0, int(epoch) + 1 - 100) / 101
        assert abs(factor - stair) <= 0.01


def test_step_multiplies_at_each_milestone() -> None:
    got = curve(choice("step", milestones=(0.5, 0.8), factor=0.1), 10)
    assert got == pytest.approx([1] * 5 + [0.1] * 3 + [0.01] * 2)
    assert curve(choice("step", milestones=(), factor=0.1), 3) == [1] * 3


@pytest.mark.parametrize(("total", "rise"), [(10, 0.3), (57, 0.25), (100, 0.5), (333, 0.3)])
def test_one_cycle_is_torchs(total: int, rise: float) -> None:
    """Torch counts from step 0 to step total - 1, so its run is one step shorter than its total."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=total, pct_start=rise, div_factor=20.0,
        final_div_factor=50.0, cycle_momentum=False,
    )  # fmt: skip
    expected = [optimizer.param_groups[0]["lr"]]
    for _ in range(total - 1):
        optimizer.step()
        schedule.step()
        expected.append(optimizer.param_groups[0]["lr"])
    ours = choice(
        "one_cycle", rise=(rise * total - 1) / (total - 1), start_divisor=20.0, final_divisor=1000.0
    )
    assert curve(ours, total - 1) == pytest.approx(expected[:-1], abs=1e-12)
    assert rate_factor(ours, total - 1, total - 1, 1) == pytest.approx(expected[-1])


def test_one_cycle_by_hand() -> None:
    got = curve(choice("one_cycle", rise=0.4, start_divisor=4.0, final_divisor=100.0), 10)
    assert got[0] == 0.25
    assert got[2] == pytest.approx((0.25 + 1) / 2)  # halfway up
    assert got[4] == 1
    assert got[7] == pytest.approx((1 + 0.01) / 2)  # halfway down
    assert 0.01 < got[9] < 0.1
    only_down = choice("one_cycle", rise=0.0, start_divisor=4.0, final_divisor=100.0)
    assert curve(only_down, 4)[::2] == pytest.approx([1, (1 + 0.01) / 2])
    only_up = choice("one_cycle", rise=1.0, start_divisor=4.0, final_divisor=100.0)
    assert curve(only_up, 4)[::2] == pytest.approx([0.25, (0.25 + 1) / 2])


@pytest.mark.parametrize(
    ("warmup", "rise"),
    [(Duration(4, "steps"), 4), (Duration(0.5, "epochs"), 5), (Duration(20, "%"), 8)],
)
def test_warm_up_rises_in_a_straight_line_and_the_rest_follows(warmup: Duration, rise: int) -> None:
    total = 40
    got = curve(choice("cosine", warmup), total)
    assert got[:rise] == pytest.approx([(step + 1) / rise for step in range(rise)])
    after = [(1 + math.cos(math.pi * k / (total - rise))) / 2 for k in range(total - rise)]
    assert got[rise:] == pytest.approx(after)


def test_a_warm_up_longer_than_the_run_fills_it() -> None:
    got = curve(choice("cosine", Duration(9, "epochs")), 5)
    assert got == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


SCHEDULES = st.sampled_from(
    [
        choice("constant"),
        choice("cosine"),
        choice("cosine", Duration(10, "%")),
        choice("linear", constant=0.5),
        choice("linear", Duration(2, "epochs"), constant=0.0),
        choice("step", milestones=(0.5, 0.75), factor=0.1),
        choice("one_cycle", rise=0.3, start_divisor=25.0, final_divisor=2.5e5),
        choice("one_cycle", rise=0.0, start_divisor=1.0, final_divisor=10.0),
        choice("one_cycle", rise=1.0, start_divisor=10.0, final_divisor=10.0),
    ]
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(SCHEDULES, st.integers(1, 300), st.integers(1, 50))
def test_every_factor_lies_above_zero_and_at_most_at_one(
    schedule: Choice, total: int, epoch: int
) -> None:
    got = curve(schedule, total, epoch)
    assert all(0 < factor <= 1 for factor in got)
    top = got.index(max(got))
    assert got[: top + 1] == sorted(got[: top + 1])  # up, and then only down
    assert got[top:] == sorted(got[top:], reverse=True)
