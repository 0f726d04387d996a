"""Optimizers against torch's own, the lecture notes' listing, and loops over their formulas."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.training.lars import LARS
from dlrun.training.optimizers import build_optimizers

STEPS = 5


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 4, 4)
    )


def choice(name: str, **options: Any) -> Choice:
    given = {"weight_decay": 0.1, "clip_norm": None, **options}
    if name == "sgd":
        given = {"dampening": 0.0, "nesterov": False, "maximize": False, **given}
    return Choice(name, lookup("optimizer", name).Config(**given))


def build(chosen: Choice, model: nn.Module, batch: int = 256) -> torch.optim.Optimizer:
    return build_optimizers(chosen, {"main": model.parameters()}, batch, fused=False)["main"]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = STEPS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(6, 2, 4, 4, generator=generator)
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach().clone() for p in model.parameters()]


def split(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Written out: weights decay, biases and norms do not."""
    conv, norm, _, linear = model  # type: ignore[misc]
    return [
        {"params": [conv.weight, linear.weight], "weight_decay": weight_decay},
        {"params": [norm.weight, norm.bias, linear.bias], "weight_decay": 0.0},
    ]


@pytest.mark.parametrize(
    ("chosen", "reference"),
    [
        (
            choice("sgd", lr=0.1, momentum=0.9, nesterov=True),
            lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True),
        ),
        (
            choice("sgd", lr=0.1, momentum=0.0),
            lambda groups: torch.optim.SGD(groups, lr=0.1),
        ),
        (
            choice("adam", lr=0.01, betas=(0.5, 0.999), eps=1e-6),
            lambda groups: torch.optim.Adam(groups, lr=0.01, betas=(0.5, 0.999), eps=1e-6),
        ),
        (
            choice("adamw", lr=0.01, betas=(0.9, 0.99), eps=1e-8),
            lambda groups: torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.99), eps=1e-8),
        ),
    ],
    ids=["sgd", "sgd without momentum", "adam", "adamw"],
)
def test_builders_are_torchs_optimizers(chosen: Choice, reference: Any) -> None:
    """The batch is no matter: only LARS's rate is stated for one."""
    ours, theirs = network(), network()
    got = train(ours, build(chosen, ours, batch=13))
    expected = train(theirs, reference(split(theirs, 0.1)))
    assert all(torch.equal(p, q) for p, q in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_on_the_cpu_computes_the_same(name: str) -> None:
    options: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8}
    if name == "sgd":
        options = {"momentum": 0.9, "nesterov": True}
    chosen = choice(name, lr=0.05, **options)
    plain, fused = network(), network()
    expected = train(plain, build(chosen, plain))
    groups = {"main": fused.parameters()}
    got = train(fused, build_optimizers(chosen, groups, 256, fused=True)["main"])
    for p, q in zip(got, expected, strict=True):
        torch.testing.assert_close(p, q)


def test_one_optimizer_for_each_group_over_its_own_parameters() -> None:
    a, b = nn.Linear(2, 2), nn.Linear(3, 3, bias=False)
    groups = {"first": a.parameters(), "second": iter(b.parameters())}
    chosen = choice("adam", lr=0.01, betas=(0.9, 0.999), eps=1e-8)
    optimizers = build_optimizers(chosen, groups, 256, fused=False)
    held = {n: [p for g in o.param_groups for p in g["params"]] for n, o in optimizers.items()}
    assert list(held) == ["first", "second"]
    assert {id(p) for p in held["first"]} == {id(p) for p in a.parameters()}
    assert {id(p) for p in held["second"]} == {id(b.weight)}
    assert len(optimizers["second"].param_groups) == 1  # no empty group of vectors


def test_what_is_frozen_is_left_out() -> None:
    """So that a method may freeze layers of a network that it names as a whole."""
    model = network()
    model[0].requires_grad_(False)
    optimizer = build(choice("sgd", lr=0.1, momentum=0.0), model)
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {
        id(p) for p in [*model[1].parameters(), *model[3].parameters()]
    }
    before = model[0].weight.clone()
    train(model, optimizer, 1)
    assert torch.equal(model[0].weight, before)


def test_a_group_may_have_an_optimizer_of_its_own() -> None:
    a, b, c = nn.Linear(2, 2), nn.Linear(3, 3), nn.Linear(4, 4)
    groups = {"first": a.parameters(), "second": b.parameters(), "third": c.parameters()}
    usual = choice("adam", lr=0.01, betas=(0.9, 0.999), eps=1e-8)
    own = {
        "second": choice("sgd", lr=0.5, momentum=0.0, weight_decay=0.25),
        "third": choice("lars", lr=0.5, momentum=0.9, trust=0.02, weight_decay=0.0),
    }
    optimizers = build_optimizers(usual, groups, 512, fused=False, own=own)
    kinds = {name: type(optimizer) for name, optimizer in optimizers.items()}
    assert kinds == {"first": torch.optim.Adam, "second": torch.optim.SGD, "third": LARS}
    rates = {name: [g["lr"] for g in o.param_groups] for name, o in optimizers.items()}
    # Only LARS states its rate for a batch, of 256.
    assert rates == {"first": [0.01, 0.01], "second": [0.5, 0.5], "third": [1.0, 1.0]}
    assert [g["weight_decay"] for g in optimizers["second"].param_groups] == [0.25, 0.0]
    assert {id(p) for g in optimizers["second"].param_groups for p in g["params"]} == {
        id(b.weight), id(b.bias),
    }  # fmt: skip


def test_an_own_optimizer_for_a_group_that_is_not_there_is_refused() -> None:
    chosen = choice("sgd", lr=0.1, momentum=0.0)
    groups = {"main": nn.Linear(2, 2).parameters()}
    with pytest.raises(UserError, match=r"names 'head', but .* has main"):
        build_optimizers(chosen, groups, 1, fused=False, own={"head": chosen})


def test_nothing_left_to_train_is_told() -> None:
    model = network().requires_grad_(False)
    with pytest.raises(UserError, match=r"nothing is left to train .* 'main': all of them"):
        build(choice("sgd", lr=0.1, momentum=0.0), model)


# --- SGD: the listing in the lecture notes -------------------------------------------------------

START, TARGET, RATE = (1.0, -2.0, 0.5), (0.25, 3.0, -1.0), 0.05
SETTINGS = list(itertools.product((0.0, 0.1), (0.0, 0.9), (0.0, 0.3), (False, True), (False, True)))
FEASIBLE = [s for s in SETTINGS if not (s[3] and (s[1] == 0 or s[2] > 0))]


def slope(theta: float, target: float) -> float:
    """Of f = theta^2 * target - theta, which has no end."""
    return 2 * theta * target - 1


def listing(
    decay: float, momentum: float, dampening: float, nesterov: bool, maximize: bool, sign: int = 1
) -> list[float]:
    """Line by line, one number at a time; `sign` is in front of the objective."""
    ends = []
    for theta, target in zip(START, TARGET, strict=True):
        b = 0.0
        for t in range(1, STEPS + 1):
            g = sign * slope(theta, target)
            if decay != 0:
                g = g + decay * theta
            if momentum != 0:
                b = momentum * b + (1 - dampening) * g if t > 1 else g
                g = g + momentum * b if nesterov else b
            theta = theta + RATE * g if maximize else theta - RATE * g
        ends.append(theta)
    return ends


def sgd(
    decay: float, momentum: float, dampening: float, nesterov: bool, maximize: bool, fused: bool
) -> list[float]:
    """The same through build_optimizers."""
    chosen = choice(
        "sgd", lr=RATE, weight_decay=decay, momentum=momentum, dampening=dampening,
        nesterov=nesterov, maximize=maximize,
    )  # fmt: skip
    theta = nn.Parameter(torch.tensor([START], dtype=torch.float64))  # a matrix, so it decays
    optimizer = build_optimizers(chosen, {"main": [theta]}, 1, fused)["main"]
    target = torch.tensor([TARGET], dtype=torch.float64)
    for _ in range(STEPS):
        theta.grad = 2 * theta.detach() * target - 1
        optimizer.step()
    values: list[float] = theta.detach()[0].tolist()
    return values


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(("decay", "momentum", "dampening", "nesterov", "maximize"), FEASIBLE)
def test_sgd_follows_the_notes_listing(
    decay: float, momentum: float, dampening: float, nesterov: bool, maximize: bool, fused: bool
) -> None:
    got = sgd(decay, momentum, dampening, nesterov, maximize, fused)
    literal = listing(decay, momentum, dampening, nesterov, maximize)
    if maximize and decay:
        # The listing adds decay to a gradient that it then climbs: its weights would grow. Decay
        # still shrinks where what is descended is the objective with its sign turned.
        assert got != pytest.approx(literal, rel=1e-3)
        literal = listing(decay, momentum, dampening, nesterov, maximize=False, sign=-1)
    assert got == pytest.approx(literal, rel=1e-12)


def test_every_setting_of_the_listing_is_tried_or_refused() -> None:
    assert (len(SETTINGS), len(FEASIBLE)) == (32, 20)
    ends = {tuple(sgd(*setting, fused=False)) for setting in FEASIBLE}
    # Without momentum, dampening is idle: that is 4 of the 20 which repeat another.
    assert len(ends) == 16


@pytest.mark.parametrize(
    ("momentum", "dampening", "message"),
    [
        (0.0, 0.0, "nesterov needs a momentum above 0, got 0; set optimizer.nesterov=false"),
        (0.9, 0.5, "nesterov needs dampening 0, got 0.5; set optimizer.nesterov=false"),
    ],
)
def test_nesterov_that_would_do_nothing_is_refused(
    momentum: float, dampening: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        choice("sgd", lr=0.1, momentum=momentum, dampening=dampening, nesterov=True)


# --- LARS ----------------------------------------------------------------------------------------

LR, MOMENTUM, TRUST, DECAY = 0.3, 0.9, 0.02, 0.05


def literal_lars(model: nn.Module, steps: int) -> list[Tensor]:
    """The formula, one tensor at a time."""
    velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(6, 2, 4, 4, generator=generator)
        model(x).square().mean().backward()
        with torch.no_grad():
            for name, w in model.named_parameters():
                assert w.grad is not None
                g = w.grad
                if w.ndim > 1:
                    g = g + DECAY * w
                    ratio = 1.0
                    if w.norm() > 0 and g.norm() > 0:
                        ratio = TRUST * w.norm() / g.norm()
                    g = ratio * g
                velocity[name] = MOMENTUM * velocity[name] + LR * g
                w -= velocity[name]
                w.grad = None
    return [p.detach().clone() for p in model.parameters()]


def test_lars_is_its_formula_for_five_steps() -> None:
    ours, theirs = network(), network()
    chosen = choice("lars", lr=LR, momentum=MOMENTUM, trust=TRUST, weight_decay=DECAY)
    got = train(ours, build(chosen, ours))
    for p, q in zip(got, literal_lars(theirs, STEPS), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_the_rate_of_lars_is_stated_for_a_batch_of_256() -> None:
    for batch, expected in ((256, 0.3), (64, 0.075), (512, 0.6)):
        chosen = choice("lars", lr=0.3, momentum=0.9, trust=0.02)
        optimizer = build(chosen, network(), batch)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([expected, expected])


def test_an_adapted_step_has_a_length_relative_to_the_weights_whatever_the_gradients() -> None:
    for scale in (1e-6, 1.0, 1e6):
        w = nn.Parameter(torch.full((3, 3), 2.0))
        w.grad = scale * torch.eye(3)
        before = w.detach().clone()
        LARS([{"params": [w]}], lr=0.5, momentum=0.0, trust=0.01).step()
        assert (w - before).norm().item() == pytest.approx(0.5 * 0.01 * 6, rel=1e-4)


@pytest.mark.parametrize(("weight", "gradient"), [(0.0, 2.0), (2.0, 0.0), (0.0, 0.0)])
def test_where_a_norm_is_zero_lars_takes_the_plain_step(weight: float, gradient: float) -> None:
    w = nn.Parameter(torch.full((2, 2), weight))
    w.grad = torch.full((2, 2), gradient)
    LARS([{"params": [w]}], lr=0.1, momentum=0.9, trust=0.01).step()
    assert torch.equal(w.detach(), torch.full((2, 2), weight) - 0.1 * gradient)


def test_lars_leaves_alone_what_has_no_gradient() -> None:
    w, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    w.grad = torch.ones(2, 2)
    optimizer = LARS([{"params": [w, unused], "weight_decay": 0.5}, {"params": []}], lr=0.1)
    optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(2, 2))
    assert not torch.equal(w.detach(), torch.ones(2, 2))


def test_lars_goes_on_from_its_state() -> None:
    chosen = choice("lars", lr=LR, momentum=MOMENTUM, trust=TRUST)
    model, other = network(), network()
    optimizer, resumed = build(chosen, model), build(chosen, other)
    train(model, optimizer, 2)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # as through a file
    pairs = zip(train(other, resumed), train(model, optimizer), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
