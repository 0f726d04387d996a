"""What an evaluation owes a run: it repeats, and it leaves no trace in the training."""

from dataclasses import replace

import pytest
import torch
from harness import SMALL, experiment, inference_of, snapshot, take_step

from dlrun.evaluation.baselines import trivial
from dlrun.evaluation.evaluate import evaluate
from dlrun.evaluation.inference import Inference
from dlrun.evaluation.metrics import METRICS
from dlrun.evaluation.pictures import pictures
from dlrun.methods.hooks import HasSamplingWeights
from dlrun.training.assemble import Experiment

every_method = pytest.mark.parametrize("name", SMALL)


def small_inference(made: Experiment) -> Inference:
    """Over every twelfth train image, but of a method that weighs them, and every fourth of val."""
    data = made.data
    every = 1 if isinstance(made.method, HasSamplingWeights) else 12
    train = data.train.subset(torch.arange(0, len(data.train), every))
    val = data.val.subset(torch.arange(0, len(data.val), 4))
    return replace(inference_of(made), data=replace(data, train=train, val=val))


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "fp32") for name in SMALL), ("supervised", "bf16"), ("byol", "bf16"),
     ("vae", "bf16"), ("cyclegan", "bf16")],
)  # fmt: skip
def test_it_is_a_function_of_the_weights_and_the_seed(name: str, precision: str) -> None:
    made = experiment(*SMALL[name], f"hardware.precision={precision}", "steps=20")
    take_step(made, 0)
    inference = small_inference(made)
    before = snapshot(made.method)
    first = evaluate(inference, "val", seed=0)
    torch.rand(7)  # whatever else has drawn meanwhile
    assert evaluate(inference, "val", seed=0) == first
    assert made.method.training
    after = made.method.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(p.grad is None for p in made.method.parameters())

    key = made.method.key_metric
    assert key in first
    assert {name for name in first if "/" not in name} <= METRICS.keys()
    assert trivial(inference.data, "val", first).keys() <= first.keys()

    take_step(made, 1)
    assert evaluate(inference, "val", seed=0) != first


def test_a_seed_of_its_own_draws_a_vaes_codes() -> None:
    inference = small_inference(experiment(*SMALL["vae"]))
    numbers = [evaluate(inference, "val", seed)["negative_elbo"] for seed in (0, 1)]
    assert numbers[0] != numbers[1]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.01)


@every_method
def test_training_goes_on_as_if_there_had_been_none(name: str) -> None:
    undisturbed, watched = (experiment(*SMALL[name], "steps=20") for _ in range(2))
    inference = small_inference(watched)
    for step in range(3):
        expected, got = take_step(undisturbed, step), take_step(watched, step)
        assert got == expected
        evaluate(inference, "val", seed=0)
        pictures(inference, seed=0)
    left, right = undisturbed.method.state_dict(), watched.method.state_dict()
    assert all(torch.equal(value, right[key]) for key, value in left.items())


CODES = {"reconstructions", "interpolations", "traversals", "samples_mixture"}
PICTURES = {
    "supervised": {"predictions"}, "multitask": {"predictions"}, "distill": {"predictions"},
    "byol": {"neighbours"}, "siamese": {"neighbours"},
    "capsnet": {"predictions", "reconstructions"}, "autoencoder": CODES,
    "vae": {"samples", *CODES}, "dbvae": {"predictions", "samples", *CODES},
    "cyclegan": {"translations"},
}  # fmt: skip


@every_method
def test_pictures_for_what_it_can_do(name: str) -> None:
    found = pictures(small_inference(experiment(*SMALL[name])), seed=0)
    assert set(found) == PICTURES[name]
    for kind, picture in found.items():
        assert picture.ndim == 3
        assert picture.shape[0] == (3 if kind in ("predictions", "neighbours") else 1)
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert not picture.requires_grad
