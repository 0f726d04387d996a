"""BYOL against the lecture notes' pseudo-code, line by line."""

import copy
import math

import pytest
import torch
from parts import CPU
from torch import Tensor, nn

from dlrun.data.batches import TwoViews
from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.base import Builder
from dlrun.methods.byol import BYOL
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.training.update import Update

TAU, TOTAL, LR = 0.9, 4, 0.2


def byol(predictor: str = "mlp", target_projector: bool = True, projection: int = 8) -> BYOL:
    torch.manual_seed(0)
    build = Builder(
        Choice(
            "resnet",
            lookup("model", "resnet").Config(
                depth=8, width=4, stem=None, init_from=None, freeze=None
            ),
        ),
        Choice("cosine", lookup("loss", "cosine").Config()),
        DataInfo((1, 12, 12), tuple("0123456789")),
    )
    config = BYOL.Config(
        tau=TAU, hidden=32, projection=projection, predictor=predictor,  # type: ignore[arg-type]
        target_projector=target_projector, probe_optimizer=Choice("adam", None),
    )  # fmt: skip
    return BYOL(config, build)


def sgd(method: BYOL) -> Update:
    parameters = list(method.parameter_groups()["main"])
    optimizer = torch.optim.SGD(parameters, lr=LR, momentum=0.9)
    return Update({"main": optimizer}, CPU, lambda step: 1.0, TOTAL)


def take_step(method: BYOL, update: Update, step: int, batch: TwoViews) -> dict[str, Tensor]:
    """As the loop takes it."""
    update.begin(step)
    metrics = method.step(batch, update)
    update.finish()
    with torch.no_grad():
        method.after_update(update)
    return metrics


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
        v, w = torch.randn(6, 1, 12, 12), torch.randn(6, 1, 12, 12)
        metrics = take_step(method, update, k, TwoViews(v, w, torch.arange(6)))

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


def test_the_running_statistics_of_the_target_are_its_own() -> None:
    """From its own batches under its own weights: no average of the online network's."""
    method = byol()
    update = sgd(method)
    for k in range(TOTAL):
        views = TwoViews(torch.randn(6, 1, 12, 12), torch.randn(6, 1, 12, 12), torch.arange(6))
        take_step(method, update, k, views)
    online, target = dict(method.online.named_buffers()), dict(method.target.named_buffers())
    assert online.keys() == target.keys()
    for name in online:
        if name.endswith("num_batches_tracked"):
            assert online[name] == target[name] == 2 * TOTAL  # each view by itself
        else:
            assert not torch.equal(online[name], target[name])


def test_the_views_do_not_share_batch_statistics() -> None:
    """Concatenated, as in the notebook, the loss would be another."""
    method = byol()
    v, w = torch.randn(6, 1, 12, 12), 5 + 3 * torch.randn(6, 1, 12, 12)
    apart = copy.deepcopy(method)
    with torch.no_grad():
        q = [apart.predictor(apart.online(x)) for x in (v, w)]
        z = [apart.target(x) for x in (w, v)]
        loss = (apart.loss(q[0], z[0]) + apart.loss(q[1], z[1])).mean()
        together = copy.deepcopy(method)
        joint = together.predictor(together.online(torch.cat([v, w])))
        mixed = together.loss(joint, together.target(torch.cat([w, v]))).mean() * 2
    metrics = take_step(method, sgd(method), 0, TwoViews(v, w, torch.arange(6)))
    torch.testing.assert_close(metrics["loss"].detach(), loss)
    assert abs(mixed - loss) > 0.01


def test_the_loss_lies_between_zero_and_eight_and_is_symmetric() -> None:
    v, w = torch.randn(6, 1, 12, 12), torch.randn(6, 1, 12, 12)
    losses = []
    for batch in (TwoViews(v, w, torch.arange(6)), TwoViews(w, v, torch.arange(6))):
        method = byol()
        losses.append(float(take_step(method, sgd(method), 0, batch)["loss"].detach()))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert 0 < losses[0] < 8


def test_the_ablations_of_the_notebook() -> None:
    """Without a predictor q is the identity; without a target projector ξ is f's alone."""
    method = byol(predictor="none")
    assert isinstance(method.predictor, nn.Identity)
    assert len(list(method.parameter_groups()["main"])) == len(list(method.online.parameters()))

    method = byol(target_projector=False, projection=16)  # the encoder's 4 * 4 features
    update = sgd(method)
    before = copy.deepcopy(method.target)
    views = TwoViews(torch.randn(6, 1, 12, 12), torch.randn(6, 1, 12, 12), torch.arange(6))
    z1 = copy.deepcopy(before[0])(views.second)
    assert torch.equal(copy.deepcopy(method.target)(views.second), z1)
    take_step(method, update, 0, views)
    assert len(method.target) == 1
    triples = zip(
        method.target.parameters(), before.parameters(), method.online[0].parameters(), strict=True
    )
    for target, old, online in triples:
        torch.testing.assert_close(target, TAU * old + (1 - TAU) * online)

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


def test_collapse_shows_in_target_std() -> None:
    torch.manual_seed(0)
    healthy, collapsed = byol(projection=64), byol(projection=64)
    nn.init.zeros_(collapsed.target[1][3].weight)
    batch = TwoViews(torch.randn(64, 1, 12, 12), torch.randn(64, 1, 12, 12), torch.arange(64))
    spread = [
        float(take_step(method, sgd(method), 0, batch)["target_std"])
        for method in (healthy, collapsed)
    ]
    assert spread[0] == pytest.approx(1 / 8, rel=0.3)  # 1 / sqrt(64)
    assert spread[1] == 0
