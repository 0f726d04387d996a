"""The one way to train: which parameters move, when, by how much, and at which precision."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.training.hardware import Hardware
from dlrun.training.update import Update


def hardware(precision: str = "fp32") -> Hardware:
    return Hardware(
        device=torch.device("cpu"), precision=precision, memory_format=torch.contiguous_format,
        threads=1, compile=False, deterministic=False, anomaly=False, line="",
    )  # fmt: skip


def update_of(
    *networks: nn.Module,
    lr: float = 0.1,
    precision: str = "fp32",
    rate: Callable[[int], float] = lambda step: 1.0,
    accumulate: int = 1,
    clip_norm: float | None = None,
) -> Update:
    """Plain SGD over each network, under the names '0', '1' and so on."""
    optimizers: dict[str, torch.optim.Optimizer] = {
        str(i): torch.optim.SGD(network.parameters(), lr=lr) for i, network in enumerate(networks)
    }
    return Update(optimizers, hardware(precision), rate, 10, accumulate, clip_norm)


def linear(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 2, bias=False)


X = torch.arange(12.0).view(4, 3) / 10


def test_minimize_is_backward_step_and_zero_grad() -> None:
    network = linear()
    before = network.weight.detach().clone()
    update = update_of(network)
    update.begin(0)
    loss = network(X).square().mean()
    (gradient,) = torch.autograd.grad(loss, network.weight, retain_graph=True)
    update.minimize(loss, "0")
    update.finish()
    torch.testing.assert_close(network.weight.detach(), before - 0.1 * gradient)
    assert network.weight.grad is None


def test_a_loss_reaches_only_the_parameters_of_the_named_optimizer() -> None:
    """As a generator's loss that runs through the discriminator."""
    generator, discriminator = linear(0), nn.Linear(2, 1)
    update = update_of(generator, discriminator)
    weights = [p.detach().clone() for p in discriminator.parameters()]
    update.begin(0)
    moved = generator.weight.detach().clone()
    update.minimize(discriminator(generator(X)).mean(), "0")
    assert not torch.equal(generator.weight, moved)
    for p, before in zip(discriminator.parameters(), weights, strict=True):
        assert p.grad is None
        assert torch.equal(p, before)


def test_no_such_optimizer() -> None:
    update = update_of(linear(), linear())
    with pytest.raises(UserError, match=r"no optimizer 'main'.* has 0, 1"):
        update.minimize(torch.zeros((), requires_grad=True))


def test_the_rate_is_a_function_of_the_step_alone() -> None:
    network = linear()
    optimizer = torch.optim.SGD(
        [{"params": [network.weight], "lr": 0.5}, {"params": [nn.Parameter(X)], "lr": 0.1}]
    )
    update = Update({"main": optimizer}, hardware(), lambda step: 1 / (step + 1), 8)
    for step in (0, 3, 1, 3):
        update.begin(step)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(
            [0.5 / (step + 1), 0.1 / (step + 1)]
        )
        assert update.learning_rate == pytest.approx(0.5 / (step + 1))
        assert update.step == step
        assert update.progress == step / 8


# --- accumulation --------------------------------------------------------------------------------


def test_accumulated_halves_are_the_whole_batch() -> None:
    whole, halves = linear(), linear()
    update = update_of(whole)
    update.begin(0)
    update.minimize(whole(X).square().mean(), "0")
    update = update_of(halves, accumulate=2)
    for part, x in enumerate(X.split(2)):
        before = halves.weight.detach().clone()
        update.begin(0, last_batch=part == 1)
        update.minimize(halves(x).square().mean(), "0")
        assert torch.equal(halves.weight, before) == (part == 0)
    torch.testing.assert_close(halves.weight, whole.weight)
    assert halves.weight.grad is None


# --- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_bounds_the_norm_over_all_of_an_optimizers_parameters(precision: str) -> None:
    network = nn.Linear(3, 2)
    before = [p.detach().clone() for p in network.parameters()]
    update = update_of(network, lr=1.0, clip_norm=0.25, precision=precision)
    update.begin(0)
    update.minimize(100 * network(X).square().mean(), "0")
    update.finish()
    moved = torch.cat(
        [(p - q).flatten() for p, q in zip(network.parameters(), before, strict=True)]
    )
    assert moved.norm().item() == pytest.approx(0.25, rel=1e-4)


def test_clipping_leaves_small_gradients_alone() -> None:
    clipped, free = linear(), linear()
    for network, clip_norm in ((clipped, 1e3), (free, None)):
        update = update_of(network, clip_norm=clip_norm)
        update.begin(0)
        update.minimize(network(X).square().mean(), "0")
    assert torch.equal(clipped.weight, free.weight)


def test_each_optimizer_is_clipped_by_itself() -> None:
    first, second = linear(0), linear(1)
    update = update_of(first, second, lr=1.0, clip_norm=0.1)
    update.begin(0)
    for name, network in (("0", first), ("1", second)):
        before = network.weight.detach().clone()
        update.minimize(1e3 * network(X).square().mean(), name)
        assert (network.weight - before).norm().item() == pytest.approx(0.1, rel=1e-4)


# --- mixed precision -----------------------------------------------------------------------------


def second_pass_after_a_step(update: Update, network: nn.Linear) -> Tensor:
    """What the network gives within the same step, after minimize() has moved its weights."""
    update.begin(0)
    with update.hardware.autocast():
        update.minimize(network(X).float().square().mean(), "0")
        return network(X).detach()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_second_pass_in_the_same_step_sees_the_new_weights(precision: str) -> None:
    network = linear()
    update = update_of(network, lr=1.0, precision=precision)
    got = second_pass_after_a_step(update, network)
    with update.hardware.autocast():  # a fresh block, with nothing cast yet
        expected = network(X)
    assert got.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert torch.equal(got, expected)


def test_without_clearing_autocasts_cache_it_would_see_the_old_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What `torch.clear_autocast_cache()` in Update is for; if torch mends it, it may go."""
    network = linear()
    update = update_of(network, lr=1.0, precision="bf16")
    with update.hardware.autocast():
        old = network(X)
    monkeypatch.setattr(torch, "clear_autocast_cache", lambda: None)
    assert torch.equal(second_pass_after_a_step(update, network), old)


def test_fp16_scales_the_loss_and_takes_the_scale_off_again() -> None:
    """A loss whose gradients are below what fp16 can hold moves the weights all the same."""
    network, plain = linear(), linear()
    before = network.weight.detach().clone()
    update = update_of(network, lr=1e6, precision="fp16")
    assert update.scaler.is_enabled()
    update.begin(0)
    with update.hardware.autocast():
        loss = 1e-8 * network(X).float().square().mean()
        update.minimize(loss, "0")
    update.finish()
    (1e-8 * plain(X).square().mean()).backward()
    assert plain.weight.grad is not None
    assert plain.weight.grad.abs().max() < torch.finfo(torch.float16).tiny
    torch.testing.assert_close(
        network.weight.detach(), before - 1e6 * plain.weight.grad, rtol=1e-2, atol=1e-4
    )


def test_fp16_skips_a_step_whose_gradients_overflowed_and_lowers_the_scale() -> None:
    good, bad = linear(0), linear(1)
    update = update_of(good, bad, precision="fp16")
    scale = update.scaler.get_scale()
    before = bad.weight.detach().clone(), good.weight.detach().clone()
    update.begin(0)
    update.minimize(bad(X).mean() * torch.finfo(torch.float32).max, "1")
    update.minimize(good(X).mean(), "0")
    update.finish()
    assert torch.equal(bad.weight, before[0])
    assert bad.weight.grad is None
    assert not torch.equal(good.weight, before[1])
    assert update.scaler.get_scale() == scale / 2


def test_fp16_accumulates_before_the_scale_is_taken_off() -> None:
    whole, halves = linear(), linear()
    for network, parts in ((whole, [X]), (halves, list(X.split(2)))):
        update = update_of(network, precision="fp16", accumulate=len(parts), clip_norm=1e3)
        for part, x in enumerate(parts):
            update.begin(0, last_batch=part == len(parts) - 1)
            update.minimize(network(x).square().mean(), "0")
        update.finish()
    torch.testing.assert_close(halves.weight, whole.weight)


def test_a_step_may_be_left_out_but_not_the_first() -> None:
    """The scaler would refuse to be updated after none."""
    update = update_of(linear(), precision="fp16")
    update.begin(1)
    update.finish()
    update.begin(0)
    with pytest.raises(UserError, match=r"did not call update\.minimize\(loss\)"):
        update.finish()


@pytest.mark.parametrize("clip_norm", [None, 1e9])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_optimizer_may_step_twice_with_one_batch(
    precision: str, clip_norm: float | None
) -> None:
    """As a critic's does; the same as two steps."""
    critic, other = linear(), linear()
    twice = update_of(critic, precision=precision, clip_norm=clip_norm)
    once = update_of(other, precision=precision, clip_norm=clip_norm)
    twice.begin(0)
    for step in range(2):
        twice.minimize(critic(X).square().mean(), "0")
        once.begin(step)
        once.minimize(other(X).square().mean(), "0")
        once.finish()
    twice.finish()
    torch.testing.assert_close(critic.weight, other.weight)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda network: 0.5, r"got 0\.5, expected a tensor with one number; give the mean\(\)"),
        (lambda network: network(X), r"got a tensor \(4, 2\), expected a tensor with one number"),
        (lambda network: network(X).mean().detach(), "the loss has no gradient; it was detached"),
        (lambda network: linear()(X).mean(), "the loss depends on no parameter of '0'"),
    ],
)
def test_what_cannot_be_minimized(loss: Callable[[nn.Module], Tensor], said: str) -> None:
    network = linear()
    update = update_of(network)
    update.begin(0)
    with pytest.raises(UserError, match=said):
        update.minimize(loss(network), "0")


def test_gradients_that_are_there_already() -> None:
    network = linear()
    update = update_of(network)
    update.begin(0)
    loss = network(X).mean()
    loss.backward(retain_graph=True)
    with pytest.raises(UserError, match=r"gradients already.*leave out loss\.backward\(\)"):
        update.minimize(loss, "0")


def test_twice_with_one_batch_whose_gradients_are_accumulated() -> None:
    network = linear()
    update = update_of(network, accumulate=2)
    update.begin(0, last_batch=False)
    update.minimize(network(X).mean(), "0")
    with pytest.raises(UserError, match=r"twice for '0' with one batch.*accumulate=1, got 2"):
        update.minimize(network(X).mean(), "0")
    update.begin(0, last_batch=True)
    update.minimize(network(X).mean(), "0")


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_state_goes_into_a_fresh_update_and_training_goes_on(precision: str) -> None:
    def build(network: nn.Module) -> Update:
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
        return Update({"main": optimizer}, hardware(precision), lambda step: 1 / (step + 1), 10)

    def train(network: nn.Module, update: Update, steps: range) -> None:
        for step in steps:
            update.begin(step)
            scale = 1e38 if step == 1 and precision == "fp16" else 1.0  # one step overflows
            update.minimize(scale * network(X).square().mean())
            update.finish()

    straight, first, second = linear(), linear(), linear()
    train(straight, build(straight), range(6))
    update = build(first)
    train(first, update, range(3))
    resumed = build(second)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(update.state_dict())  # type: ignore[arg-type]
    train(second, resumed, range(3, 6))
    assert torch.equal(second.weight, straight.weight)
    assert resumed.scaler.get_scale() == update.scaler.get_scale()


@pytest.mark.parametrize(("before", "after"), [("fp32", "fp16"), ("fp16", "fp32")])
def test_state_goes_on_at_another_precision(before: str, after: str) -> None:
    """As when a run is resumed on a machine with another GPU."""
    first, second = linear(), linear()
    update, resumed = update_of(first, precision=before), update_of(second, precision=after)
    update.begin(0)
    update.minimize(first(X).mean(), "0")
    update.finish()
    resumed.load_state_dict(update.state_dict())  # type: ignore[arg-type]
    resumed.begin(1)
    moved = second.weight.detach().clone()
    resumed.minimize(second(X).mean(), "0")
    resumed.finish()
    assert not torch.equal(second.weight, moved)
