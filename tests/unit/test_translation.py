"""Warnings about an unpaired translation, each both ways: it comes, and it does not."""

from typing import Any

import numpy as np
import pytest
import torch
from parts import CPU
from torch import Tensor, nn

from dlrun.config.compose import compose_plain
from dlrun.config.schema import check
from dlrun.data.batches import EvalBatch, Unpaired
from dlrun.data.info import DataInfo, Domain
from dlrun.methods.base import Builder
from dlrun.methods.cyclegan import CycleGAN, change, correlation
from dlrun.training.update import Update

SHAPE = (3, 16, 16)
DOMAINS = (Domain("horse", 2, 30), Domain("deer", 0, 20))


def cyclegan(*overrides: str, domains: tuple[Domain, ...] = DOMAINS) -> tuple[CycleGAN, Builder]:
    small = ("model.width=2", "model.blocks=1", "method.discriminator.width=4", "method.pool=2")
    config = check(compose_plain(["method=cyclegan", *small, *overrides], None))
    torch.manual_seed(0)
    info = DataInfo(SHAPE, ("deer", "frog", "horse"), domains=domains)
    build = Builder(config.model, config.loss, info)
    return CycleGAN(config.method.options, build), build


def update_of(method: CycleGAN, lr: float = 0.0) -> Update:
    groups = method.parameter_groups().items()
    optimizers: dict[str, torch.optim.Optimizer] = {
        name: torch.optim.Adam(list(group), lr=lr) for name, group in groups
    }
    return Update(optimizers, CPU, lambda step: 1.0, 100)


class Says(nn.Module):
    """A generator whose translation is a function of the image."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(()))  # an optimizer wants one

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[no-any-return]


def held_out() -> EvalBatch:
    generator = torch.Generator().manual_seed(0)
    image = 1.6 * torch.rand(12, *SHAPE, generator=generator) - 0.8
    return EvalBatch(image, torch.arange(12) % 3)


def warned(method: CycleGAN) -> list[str]:
    """Of `held_out`, as the loop does it."""
    numbers = {k: float(v.detach().mean()) for k, v in method.validate(held_out()).items()}
    return method.warnings(numbers, update_of(method))


def with_generators(a_to_b: Any, b_to_a: Any, *overrides: str) -> CycleGAN:
    method, _ = cyclegan(*overrides)
    method.G_AB, method.G_BA = Says(a_to_b), Says(b_to_a)
    return method


def darker(x: Tensor) -> Tensor:
    """A translation as it should be: another image, of the same light and shade."""
    return 0.5 * x - 0.3


def test_correlation_is_numpys_and_change_is_as_defined() -> None:
    x, y = torch.randn(4, *SHAPE), torch.randn(4, *SHAPE)
    y = y + torch.tensor([-3.0, -1.0, 0.0, 2.0])[:, None, None, None] * x
    for row, (one, other) in enumerate(zip(x.numpy(), y.numpy(), strict=True)):
        expected = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert float(correlation(x, y)[row]) == pytest.approx(expected, abs=1e-5)
        spread = np.abs(one - one.mean()).mean()
        assert float(change(x, y)[row]) == pytest.approx(np.abs(other - one).mean() / spread)
    torch.testing.assert_close(correlation(x, -2 * x + 1), -torch.ones(4))
    assert torch.equal(change(x, x), torch.zeros(4))


def test_images_of_one_colour_give_numbers_too() -> None:
    flat, x = torch.zeros(2, *SHAPE), torch.randn(2, *SHAPE)
    for pair in ((flat, x), (x, flat), (flat, flat)):
        assert torch.equal(correlation(*pair), torch.zeros(2))
        assert change(*pair).isfinite().all()


def test_held_out_images_are_compared_with_their_translations_domain_by_domain() -> None:
    method, batch = with_generators(darker, torch.neg), held_out()
    assert batch.label is not None
    told = method.validate(batch)
    horses, deer = batch.image[batch.label == 2], batch.image[batch.label == 0]
    torch.testing.assert_close(told["correlation_a_to_b"], torch.ones(4))
    torch.testing.assert_close(told["correlation_b_to_a"], -torch.ones(4))
    torch.testing.assert_close(told["change_a_to_b"], change(horses, darker(horses)))
    torch.testing.assert_close(told["change_b_to_a"], change(deer, -deer))
    frogs = EvalBatch(batch.image[:2], torch.tensor([1, 1]))
    assert method.validate(frogs) == {}
    assert method.validate(EvalBatch(batch.image)) == {}


def test_a_translation_as_it_should_be_warns_of_nothing() -> None:
    assert warned(with_generators(darker, darker)) == []


def test_untrained_generators_warn_of_nothing() -> None:
    assert warned(cyclegan()[0]) == []


def test_inverted_colours_one_way() -> None:
    (line,) = warned(with_generators(torch.neg, darker, "method.identity=0.25"))
    assert line.startswith("horse to deer inverts colours (correlation of an image and its")
    assert "-1.00" in line and "a larger method.identity than 0.25" in line
    (line,) = warned(with_generators(darker, torch.neg))
    assert line.startswith("deer to horse inverts colours")


def test_a_generator_that_returns_its_input() -> None:
    def nearly(x: Tensor) -> Tensor:
        return x + 0.01 * x.sign()

    (line,) = warned(with_generators(nearly, darker))
    assert line.startswith("horse to deer returns its input (changed by ")
    assert line.endswith("lower method.identity or method.cycle")
    (line,) = warned(with_generators(darker, nearly))
    assert line.startswith("deer to horse returns its input")


@pytest.mark.parametrize("loss", ["lsgan", "bce_gan", "hinge_gan"])
def test_a_saturated_discriminator_is_told_and_one_that_guesses_is_not(loss: str) -> None:
    """D_B is given real images that are bright and translations that are dark."""
    method, _ = cyclegan(f"loss={loss}", "method.pool=0")
    method.G_AB, method.G_BA = Says(lambda x: 0 * x - 0.9), Says(darker)
    scale = {"lsgan": 0.5, "bce_gan": 10.0, "hinge_gan": 5.0}[loss]
    middle = 0.5 if loss == "lsgan" else 0.0

    method.D_B = Says(lambda x: scale * x.mean((1, 2, 3)) / 0.9 + middle)
    update = update_of(method)
    update.minimize = lambda loss, name="main": None  # type: ignore[method-assign]
    bright = torch.full((2, *SHAPE), 0.9) * torch.tensor([0.9, 1.1])[:, None, None, None]
    for step in range(600):
        update.begin(step)
        method.step(Unpaired(torch.rand(2, *SHAPE) - 0.5, bright), update)
        if step == 20:  # not before it has been so for a while
            assert method.warnings({}, update) == []
    (line,) = method.warnings({}, update)  # of D_B alone: the other one, untrained, guesses
    assert line.startswith("the discriminator of deer is saturated (loss ")
    assert f"guessing gives {method.guessing:.2g}" in line


def test_the_memory_of_the_discriminators_losses_is_in_the_state() -> None:
    method, _ = cyclegan()
    update = update_of(method, lr=1e-3)
    a, b = 2 * torch.rand(2, 2, *SHAPE) - 1
    update.begin(0)
    metrics = method.step(Unpaired(a, b), update)
    recent = method.state_dict()["recent_losses"]
    expected = 2 * 0.99 * 0.25 + 0.01 * float(metrics["discriminators"].detach())
    assert float(recent.sum()) == pytest.approx(expected, rel=1e-5)
    other, _ = cyclegan()
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.recent_losses, method.recent_losses)


def test_without_domains_nothing_is_compared() -> None:
    method, _ = cyclegan(domains=())
    assert method.validate(held_out()) == {}
    assert method.warnings({}, update_of(method)) == []


def test_the_report_before_training() -> None:
    _, build = cyclegan("method.cycle=8", "method.identity=0.25")
    assert build.report == [
        "domains A and B: horse (30 images) and deer (20 images); generators' loss: adversarial + "
        "8 cycle + 2 identity"
    ]


def test_a_loss_that_can_be_negative_is_not_called_saturated() -> None:
    """A user's own Wasserstein loss, which does not say what guessing gives."""
    method, _ = cyclegan()
    method.guessing = 0.0
    method.recent_losses.fill_(-0.7)
    assert method.warnings({}, update_of(method)) == []
