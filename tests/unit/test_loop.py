"""The loop: what is logged, evaluated, saved and drawn, and when."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from bench import Bench, config
from harness import SUPERVISED, experiment

from dlrun.errors import RunFailed
from dlrun.training import loop

TAKE_STEP = loop.take_step


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path / "run", monkeypatch)


def told(bench: Bench, losses: dict[int, float] | None = None) -> None:
    """Each batch gives its number, counted from 1, as its loss, or that of `losses`."""

    def numbered(made: Any, step: int) -> Any:
        rows = TAKE_STEP(made, step)
        numbers = range(step * len(rows) + 1, (step + 1) * len(rows) + 1)
        return [{"loss": torch.tensor((losses or {}).get(number, number))} for number in numbers]

    bench.monkeypatch.setattr(loop, "take_step", numbered)


def logged(bench: Bench, name: str) -> dict[int, float]:
    rows = [json.loads(line) for line in bench.folder.metrics.read_text().splitlines()]
    return {row["step"]: row[name] for row in rows if name in row}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_means_every_so_often_and_at_the_end(bench: Bench, tmp_path: Path, accumulate: int) -> None:
    told(bench)
    options = ("steps=7", "log_every=3", "eval_every=5", f"accumulate={accumulate}")
    bench.train(config(tmp_path, *options), 0.1, 0.2)
    batches = {3: (1, 3), 6: (4, 6), 7: (7, 7)}
    means = {
        step: ((first - 1) * accumulate + 1 + last * accumulate) / 2
        for step, (first, last) in batches.items()
    }
    assert logged(bench, "train/loss") == means
    assert logged(bench, "val/accuracy") == {5: 0.1, 7: 0.2}
    last = bench.last
    assert (last["val_step"], last["val"], last["best_step"]) == (7, {"accuracy": 0.2}, 7)
    assert last["pending"] == []


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_told_with_its_step_and_never_saved(
    bench: Bench, tmp_path: Path, accumulate: int, value: float
) -> None:
    told(bench, {3 * accumulate: value})
    options = ("steps=7", "log_every=7", "checkpoint_every=2", f"accumulate={accumulate}")
    said = rf"train/loss is {value:g} at step 3; the checkpoint of step 2 is kept"
    with pytest.raises(RunFailed, match=said):
        bench.train(config(tmp_path, *options), 0.1)
    assert bench.last["step"] == 2


def test_a_weight_that_is_not_finite_is_never_saved(bench: Bench, tmp_path: Path) -> None:
    def breaking(made: Any, step: int) -> Any:
        rows = TAKE_STEP(made, step)
        if step == 3:
            made.method.head.bias.data[0] = math.nan
        return rows

    bench.monkeypatch.setattr(loop, "take_step", breaking)
    options = ("steps=7", "log_every=7", "checkpoint_every=1")
    with pytest.raises(RunFailed, match="a weight is not finite after step 4"):
        bench.train(config(tmp_path, *options), 0.1)
    assert bench.last["step"] == 3


def test_checkpoints_every_so_many_steps_and_at_the_end(bench: Bench, tmp_path: Path) -> None:
    saved: list[tuple[str, int]] = []
    save = loop.checkpoint.save

    def recorded(path: Path, content: Any) -> None:
        saved.append((path.name, content["step"]))
        save(path, content)

    bench.monkeypatch.setattr(loop.checkpoint, "save", recorded)
    options = ("steps=7", "checkpoint_every=3", "eval_every=2")
    bench.train(config(tmp_path, *options), 0.1, 0.3, 0.2, 0.1)
    last, best = bench.folder.last.name, bench.folder.best.name
    assert [step for name, step in saved if name == last] == [3, 6, 7]
    assert [step for name, step in saved if name == best] == [2, 4]


def test_the_method_looks_at_its_images_before_every_epoch(bench: Bench, tmp_path: Path) -> None:
    looked: list[tuple[int, int]] = []

    def before(made: Any, inference: Any, step: int) -> dict[str, Any]:
        looked.append((step, made.steps_per_epoch))
        return {}

    bench.monkeypatch.setattr(loop, "before_epoch", before)
    bench.train(config(tmp_path, "batch_size=900", "steps=null", "epochs=3", "eval_every=99"), 0.1)
    length = looked[0][1]
    assert length > 1 and [step for step, _ in looked] == [0, length, 2 * length]


def test_every_batch_has_a_number_and_a_seed_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = experiment(*SUPERVISED, "accumulate=2", "batch_size=8")
    seeds: list[Any] = []
    drawn: list[int] = []
    draw, seed = made.batches.draw, loop.seed_everything

    def drawing(number: int) -> Any:
        drawn.append(number)
        return draw(number)

    def seeding(*key: Any) -> None:
        seeds.append(key)
        seed(*key)

    monkeypatch.setattr(made.batches, "draw", drawing)
    monkeypatch.setattr(loop, "seed_everything", seeding)
    for step in range(2):
        loop.take_step(made, step)
    assert drawn == [0, 1, 2, 3]
    assert seeds == [(made.config.seed, "step", number) for number in range(4)]


def test_the_learning_rate_is_stated_for_the_images_of_an_optimizer_step() -> None:
    """Where an optimizer scales it: for all the batches whose gradients are accumulated."""
    small = (*SUPERVISED, "optimizer=lars", "batch_size=16")
    once, twice = (
        experiment(*small, f"accumulate={n}").update.learning_rate for n in (1, 2)
    )  # fmt: skip
    assert twice == pytest.approx(2 * once)
