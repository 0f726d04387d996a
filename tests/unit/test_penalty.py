"""Penalties on weights, and the names that other runs load."""

import torch
from harness import SUPERVISED, experiment, take_step

from dlrun.methods.multitask import Multitask
from dlrun.methods.supervised import Supervised, penalty


def supervised(*overrides: str) -> Supervised:
    torch.manual_seed(0)
    method = experiment(
        "method=supervised", "model=mlp", "model.hidden=[5]", "batch_size=16", *overrides
    ).method
    assert isinstance(method, Supervised)
    return method


def test_penalties_by_hand() -> None:
    method = supervised()
    weights = [
        p for name, p in method.named_parameters()
        if name.endswith("weight") and not name.startswith("encoder.2")
    ]  # fmt: skip
    assert [p.ndim for p in weights] == [2, 2]  # encoder.2 is the norm
    expected = sum(0.01 * w.abs().sum() + 0.1 * (w**2).sum() for w in weights)
    torch.testing.assert_close(penalty(method.parameters(), 0.01, 0.1), expected)
    assert penalty(method.parameters(), 0.0, 0.0) == 0


def test_a_step_adds_the_penalty_to_the_loss() -> None:
    for name in ("supervised", "multitask"):
        common = (f"method={name}", *SUPERVISED[1:], "steps=5")
        plain, penalised = (
            experiment(*common), experiment(*common, "method.l1=0.01", "method.l2=0.1")
        )  # fmt: skip
        expected = penalty(plain.method.parameters(), 0.01, 0.1)
        difference = take_step(penalised, 0)["loss"] - take_step(plain, 0)["loss"]
        torch.testing.assert_close(
            difference, torch.as_tensor(expected).detach(), rtol=1e-4, atol=0
        )


def test_biases_and_norms_have_no_gradient_of_a_penalty() -> None:
    method = supervised()
    torch.as_tensor(penalty(method.parameters(), 0.3, 0.5)).backward()
    with_gradient = {name for name, p in method.named_parameters() if p.grad is not None}
    assert with_gradient == {"encoder.1.weight", "head.weight"}
    w = method.head.weight
    torch.testing.assert_close(w.grad, 0.3 * w.sign() + 2 * 0.5 * w)


def test_what_is_frozen_is_not_penalised() -> None:
    method = supervised("model.freeze=backbone")
    expected = method.head.weight.square().sum()
    torch.testing.assert_close(penalty(method.parameters(), 0.0, 1.0), expected)


def test_of_the_label_alone_multitask_is_supervised() -> None:
    """The same weights to begin with and the same losses, bit for bit."""
    one = experiment(*SUPERVISED, "optimizer=adam", "steps=5")
    other = experiment("method=multitask", *SUPERVISED[1:], "steps=5")
    assert isinstance(other.method, Multitask)
    for step in range(3):
        assert take_step(one, step) == take_step(other, step)
    for name, value in one.method.state_dict().items():
        theirs = other.method.state_dict()[name.replace("head.", "heads.label.")]
        assert torch.equal(value, theirs)
