"""BYOL against the lecture notes' pseudo-code, line by line."""

import copy
import math

import pytest
import torch
from parts import method_of, take_step, updating
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import TwoViews
from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.byol import BYOL
from dlrun.training.update import Update

TAU, TOTAL, LR = 0.9, 4, 0.2


def byol(predictor: str = "mlp", target_projector: bool = True, projection: int = 8) -> BYOL:
    made: BYOL = method_of(
        "method=byol", "model=resnet8", "model.width=4", f"method.tau={TAU}", "method.hidden=32",
        f"method.projection={projection}", f"method.predictor={predictor}",
        f"method.target_projector={target_projector}",
        info=DataInfo((1, 12, 12), tuple("0123456789")),
    )  # fmt: skip
    return made


def sgd(method: BYOL) -> Update:
    return updating(method, total=TOTAL, lr=LR, momentum=0.9)


def views(size: int = 6, mean: float = 5, std: float = 3) -> TwoViews:
    """Two that are not alike in mean and spread, so that mixing their statistics shows."""
    v, w = torch.randn(size, 1, 12, 12), mean + std * torch.randn(size, 1, 12, 12)
    return TwoViews(v, w, torch.arange(size))


def assert_same(ours: nn.Module, literal: nn.Module) -> None:
    """Weights and buffers: running means, variances and counts too."""
    state = literal.state_dict()
    assert ours.state_dict().keys() == state.keys()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-5, atol=1e-6, msg=name)


def test_steps_are_the_notes_loop() -> None:
    method = byol()
    update = sgd(method)
    f, g = copy.deepcopy(method.online[0]), copy.deepcopy(method.online[1])  # θ
    q = copy.deepcopy(method.predictor)
    f_target, g_target = copy.deepcopy(f), copy.deepcopy(g)  # ξ
    theta = [*f.parameters(), *g.parameters()]
    xi = [*f_target.parameters(), *g_target.parameters()]
    optimizer = torch.optim.SGD([*theta, *q.parameters()], lr=LR, momentum=0.9)

    def H(s: Tensor, t: Tensor) -> Tensor:  # noqa: N802
        t = t.detach()
        p = q(s)
        # Corrected: brackets around the product of the norms; the mean over the batch.
        return (2 - 2 * (p * t).sum(1) / (p.norm(dim=1) * t.norm(dim=1))).mean()

    for k in range(TOTAL):
        batch = views(mean=0, std=1)
        v, w = batch.first, batch.second
        metrics = take_step(method, update, batch, k)

        # Online network (student)
        z1 = g(f(v))
        z2 = g(f(w))

        # Target network (teacher)
        z1_target = g_target(f_target(w))
        z2_target = g_target(f_target(v))

        loss = H(z1, z1_target) + H(z2, z2_target)
        loss.backward()

        # Update online network
        optimizer.step()
        optimizer.zero_grad()

        # Target update rule (EMA); corrected: the paper's rising rate.
        tau = 1 - (1 - TAU) * (math.cos(math.pi * k / TOTAL) + 1) / 2
        with torch.no_grad():
            for target, online in zip(xi, theta, strict=True):
                target.copy_(tau * target + (1 - tau) * online)

        torch.testing.assert_close(metrics["loss"], loss, rtol=1e-5, atol=1e-6)
        assert_same(method.online, nn.Sequential(f, g))
        assert_same(method.predictor, q)
        assert_same(method.target, nn.Sequential(f_target, g_target))


def test_the_views_do_not_share_batch_statistics() -> None:
    """Concatenated, as in the notebook, the loss would be another."""
    method = byol()
    batch = views()
    v, w = batch.first, batch.second
    apart = copy.deepcopy(method)
    with torch.no_grad():
        q = [apart.predictor(apart.online(x)) for x in (v, w)]
        z = [apart.target(x) for x in (w, v)]
        loss = (apart.loss(q[0], z[0]) + apart.loss(q[1], z[1])).mean()
        together = copy.deepcopy(method)
        joint = together.predictor(together.online(torch.cat([v, w])))
        mixed = together.loss(joint, together.target(torch.cat([w, v]))).mean() * 2
    metrics = take_step(method, sgd(method), batch)
    torch.testing.assert_close(metrics["loss"], loss)
    assert abs(mixed - loss) > 0.01


def test_the_loss_lies_between_zero_and_eight_and_is_symmetric() -> None:
    batch = views()
    losses = []
    for given in (batch, TwoViews(batch.second, batch.first, batch.index)):
        method = byol()
        losses.append(float(take_step(method, sgd(method), given)["loss"]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert 0 < losses[0] < 8


def test_the_ablations_of_the_notebook() -> None:
    """Without a predictor q is the identity; without a target projector ξ is f's alone.

    The notebook concatenates the two views; here each goes through a network by itself.
    """
    method = byol("none", target_projector=False, projection=16)  # the encoder's 4 * 4 features
    assert isinstance(method.predictor, nn.Identity) and len(method.target) == 1
    held = list(method.parameter_groups()["main"])
    assert [id(p) for p in held] == [id(p) for p in method.online.parameters()]
    net, projector = copy.deepcopy(method.online[0]), copy.deepcopy(method.online[1])
    target = copy.deepcopy(net)
    optimizer = torch.optim.SGD([*net.parameters(), *projector.parameters()], lr=LR)

    def loss_fn(x: Tensor, y: Tensor) -> Tensor:
        x, y = F.normalize(x, dim=-1, p=2), F.normalize(y, dim=-1, p=2)
        return 2 - 2 * (x * y).sum(dim=-1)

    batch = views()
    one, two = (projector(net(x)) for x in (batch.first, batch.second))
    with torch.no_grad():
        target_two, target_one = target(batch.second), target(batch.first)
    loss = (loss_fn(one, target_two) + loss_fn(two, target_one)).mean()
    loss.backward()
    optimizer.step()
    for current, average in zip(net.parameters(), target.parameters(), strict=True):
        average.data = average.data * TAU + (1 - TAU) * current.data

    metrics = take_step(method, updating(method, lr=LR), batch)
    torch.testing.assert_close(metrics["loss"], loss.detach(), rtol=1e-5, atol=1e-6)
    assert_same(method.online, nn.Sequential(net, projector))
    assert_same(method.target, nn.Sequential(target))

    with pytest.raises(UserError, match=r"method\.projection: got 8.*feature width, 16"):
        byol(target_projector=False, projection=8)


def test_the_features_are_the_online_encoders() -> None:
    """Those in front of the projector, as BYOL is evaluated; and not the target's."""
    method = byol()
    nn.init.normal_(method.target[0].stem[0].weight)
    x = torch.randn(3, 1, 12, 12)
    method.eval()
    assert torch.equal(method.embed(x), method.online[0](x))
    assert method.embed(x).shape == (3, 16)
    last = method.online[1][-1]  # without a bias, as in the authors' code; the notebook has one
    assert isinstance(last, nn.Linear) and last.bias is None


def test_collapse_shows_in_target_std() -> None:
    torch.manual_seed(0)
    healthy, collapsed = byol(projection=64), byol(projection=64)
    nn.init.zeros_(collapsed.target[1][3].weight)
    batch = views(64)
    spread = [
        float(take_step(method, sgd(method), batch)["target_std"])
        for method in (healthy, collapsed)
    ]
    assert spread[0] == pytest.approx(1 / 8, rel=0.3)  # 1 / sqrt(64)
    assert spread[1] == 0
