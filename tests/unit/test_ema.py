"""The moving average against the formula, and BYOL's rate of it."""

import math

import pytest
import torch
from torch import nn

from dlrun.methods.byol import decay
from dlrun.models.ema import frozen_copy, update_average


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2, bias=False))


def test_a_target_begins_as_a_copy_that_no_gradient_reaches() -> None:
    online = network(0)
    target = frozen_copy(online)
    for p, q in zip(online.parameters(), target.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.data_ptr() != q.data_ptr()
        assert p.requires_grad
        assert not q.requires_grad


@pytest.mark.parametrize("tau", [0.0, 0.3, 0.5, 0.996, 1.0])
def test_update_is_the_formula(tau: float) -> None:
    target, online = frozen_copy(network(0)), network(1)
    before = [p.clone() for p in target.parameters()]
    source = [p.clone() for p in online.parameters()]
    update_average(target, online, tau)
    for p, old, new in zip(target.parameters(), before, source, strict=True):
        torch.testing.assert_close(p.detach(), tau * old + (1 - tau) * new, rtol=1e-6, atol=1e-7)
    for p, new in zip(online.parameters(), source, strict=True):
        assert torch.equal(p, new)


def test_tau_of_one_stands_still_and_of_zero_copies_bit_for_bit() -> None:
    target, online = frozen_copy(network(0)), network(1)
    before = [p.clone() for p in target.parameters()]
    update_average(target, online, 1.0)
    assert all(torch.equal(p, q) for p, q in zip(target.parameters(), before, strict=True))
    update_average(target, online, 0.0)
    pairs = zip(target.parameters(), online.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)


def test_buffers_stay_each_networks_own() -> None:
    target, online = frozen_copy(network(0)), network(1)
    online(torch.randn(8, 3))
    before = {name: buffer.clone() for name, buffer in target.named_buffers()}
    update_average(target, online, 0.5)
    for name, buffer in target.named_buffers():
        assert torch.equal(buffer, before[name])


@pytest.mark.parametrize("tau", [0.0, 0.9, 0.99])
def test_decay_rises_along_a_cosine(tau: float) -> None:
    assert decay(tau, 0) == pytest.approx(tau)
    assert decay(tau, 1) == 1
    assert decay(tau, 0.5) == pytest.approx((1 + tau) / 2)
    total = 37
    curve = [decay(tau, k / total) for k in range(total + 1)]
    assert curve == sorted(curve)
    for k, value in enumerate(curve):
        expected = 1 - (1 - tau) * (math.cos(math.pi * k / total) + 1) / 2
        assert value == pytest.approx(expected, abs=1e-12)
