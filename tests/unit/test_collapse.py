"""Detecting a collapse, and the probe that watches the training without touching it."""

import copy
import math
from pathlib import Path

import pytest
import torch
from parts import CPU, config_of, data_of, inference_on, method_of, take_step
from torch import Tensor, nn

from dlrun.data.batches import TwoViews
from dlrun.data.info import DataInfo
from dlrun.data.table import Table
from dlrun.evaluation.evaluate import evaluate
from dlrun.methods.byol import BYOL, preset_tau
from dlrun.training.optimizers import build_optimizers
from dlrun.training.update import Update

SHAPE, WIDTH, TOTAL = (1, 6, 6), 16, 100


def byol(*overrides: str, labelled: bool = True, epochs: float = 100) -> tuple[BYOL, Update]:
    """A small one with an update as a run has it."""
    given = ("method=byol", "model=mlp", "model.hidden=[12]", "method.hidden=8",
             f"method.projection={WIDTH}", *overrides)  # fmt: skip
    info = DataInfo(SHAPE, ("a", "b", "c") if labelled else ())
    method: BYOL = method_of(*given, info=info, epochs=epochs)
    optimizers = build_optimizers(
        config_of(*given).optimizer, method.parameter_groups(), 256, fused=False,
        own=method.optimizers(),
    )  # fmt: skip
    return method, Update(optimizers, CPU, lambda step: 1.0, TOTAL)


# --- what a collapse is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spread", "rank", "collapsed"),
    [(1.0, 1.5, True), (1.0, 2.5, False), (0.05, 9.0, True), (0.2, 9.0, False), (0.0, 1.0, True)],
)
def test_a_point_or_a_line_is_a_collapse(spread: float, rank: float, collapsed: bool) -> None:
    method, update = byol()
    numbers = {"projection_std": spread / math.sqrt(WIDTH), "projection_rank": rank}
    assert bool(method.warnings(numbers, update)) == collapsed


# --- the decay -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "tau"),
    [(1, 0.97), (40, 0.97), (70, 0.97), (70.5, 0.99), (100, 0.99), (300, 0.99), (600, 0.99),
     (1000, 0.996)],
)  # fmt: skip
def test_the_preset_follows_the_length_of_the_run(epochs: float, tau: float) -> None:
    assert preset_tau(epochs) == tau
    assert byol(epochs=epochs)[0].tau == tau
    assert byol("method.tau=0.5", epochs=epochs)[0].tau == 0.5


@pytest.mark.parametrize("epochs", [40, 100, 300, 1000])
def test_no_preset_is_said_to_stand_still_at_any_moment(epochs: float) -> None:
    method, update = byol(epochs=epochs)
    for step in range(TOTAL):
        update.begin(step)
        assert method.warnings({}, update) == []


# --- a method that warns -------------------------------------------------------------------------


def constant(method: BYOL) -> None:
    """The encoder gives the same features whatever it sees."""
    first = method.online[0][1]  # type: ignore[index]
    assert isinstance(first, nn.Linear)
    nn.init.zeros_(first.weight)


def warnings(method: BYOL, update: Update) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (40, *SHAPE), generator=generator).byte()
    table = Table(images, torch.arange(40) % 3)
    data = data_of(table, table, table, classes=3)
    numbers = evaluate(inference_on(method, data, method.pixels), "val", 0, full=False)
    assert {"projection_std", "projection_rank", "probe_accuracy", "knn"} <= numbers.keys()
    return method.warnings(numbers, update)


@pytest.mark.parametrize(
    "overrides",
    [(), ("optimizer=adam",), ("method.predictor=none",)],
)
def test_a_healthy_run_gives_no_line(overrides: tuple[str, ...]) -> None:
    method, update = byol(*overrides)
    update.begin(30)
    assert warnings(method, update) == []


def test_a_constant_encoder_is_a_collapse() -> None:
    method, update = byol()
    constant(method)
    update.begin(30)
    (line,) = warnings(method, update)
    assert line.startswith("the projections have collapsed (std ")
    assert f"healthy is about 0.25; rank 1.0 of {WIDTH})" in line
    assert (Path(__file__).parents[2] / line.partition("see ")[2]).is_file()


def test_projections_on_a_line_are_a_collapse_though_they_are_spread() -> None:
    method, update = byol()
    last = method.online[1][3]  # type: ignore[index]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.copy_(torch.randn(WIDTH, 1) @ torch.randn(1, 8))
    (line,) = warnings(method, update)
    assert "collapsed" in line


def test_a_target_that_stands_still_is_a_warning_though_nothing_has_collapsed_yet() -> None:
    method, update = byol("method.tau=1.0")
    update.begin(30)
    assert warnings(method, update) == [
        "tau is 1.00000: the target does not follow the online network"
    ]
    update.begin(TOTAL - 1)
    assert warnings(method, update) == []


def test_without_a_val_split_there_is_no_collapse_to_tell() -> None:
    method, update = byol()
    assert method.warnings({}, update) == []


# --- the probe -----------------------------------------------------------------------------------


def batch(label: Tensor | None) -> TwoViews:
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randn(12, *SHAPE, generator=generator) for _ in range(2))
    return TwoViews(first, second, torch.arange(12), label)


LABEL = torch.arange(12) % 3


@pytest.mark.parametrize("optimizer", ["lars", "adam", "sgd"])
def test_the_probe_gives_nothing_to_the_rest(optimizer: str) -> None:
    """With labels and without, everything else takes the same steps, bit for bit."""
    method, update = byol(f"optimizer={optimizer}")
    twin, twin_update = byol(f"optimizer={optimizer}")
    for step in range(3):
        take_step(method, update, batch(LABEL), step)
        take_step(twin, twin_update, batch(None), step)
    state = twin.state_dict()
    for name, value in method.state_dict().items():
        assert torch.equal(value, state[name]) != name.startswith("probe."), name


def test_the_probes_step_is_adam_on_the_features_of_the_first_view() -> None:
    """While the others take LARS."""
    method, update = byol()
    assert type(update.optimizers["main"]).__name__.lower().startswith("lars")
    assert isinstance(update.optimizers["probe"], torch.optim.Adam)
    assert method.probe is not None
    held = [p for group in update.optimizers["probe"].param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in method.probe.parameters()}
    twin = copy.deepcopy(method)
    probe = twin.probe
    assert probe is not None
    group = update.optimizers["probe"].param_groups[0]
    adam = torch.optim.Adam(
        probe.parameters(), lr=group["lr"], betas=group["betas"], eps=group["eps"],
        weight_decay=group["weight_decay"],
    )  # fmt: skip
    loss = nn.functional.cross_entropy(probe(twin.online[0](batch(None).first).detach()), LABEL)
    loss.backward()
    adam.step()
    take_step(method, update, batch(LABEL))
    for mine, theirs in zip(method.probe.parameters(), probe.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-7)


def test_the_probes_loss_reaches_its_own_weights_and_no_others() -> None:
    method, _ = byol()
    assert method.probe is not None
    seen: list[str] = []

    class Backward:
        step, progress = 0, 0.0

        def minimize(self, loss: Tensor, name: str = "main") -> None:
            seen.append(name)
            if name == "probe":
                loss.backward()

    told = method.step(batch(LABEL), Backward())
    assert seen == ["main", "probe"]
    with_gradient = {name for name, p in method.named_parameters() if p.grad is not None}
    assert with_gradient == {"probe.weight", "probe.bias"}
    assert 0 <= float(told["probe_accuracy"]) <= 1
    assert not told["probe_accuracy"].requires_grad


def test_without_classes_there_is_no_probe() -> None:
    method, update = byol(labelled=False)
    assert method.probe is None
    assert list(update.optimizers) == ["main"]
    take_step(method, update, batch(None))
    assert not any(name.startswith("probe") for name in method.state_dict())
