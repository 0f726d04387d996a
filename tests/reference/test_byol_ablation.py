"""BYOL without predictor and target projector against the lecture notes' notebook.

There the target is an encoder alone, the online projector stands in for a predictor, and both views
go through a network in one batch. Here each view goes by itself; that is the one difference.
"""

import copy

import pytest
import torch
from parts import CPU
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.config.compose import compose_plain
from dlrun.config.schema import check
from dlrun.data.batches import TwoViews
from dlrun.data.info import DataInfo
from dlrun.methods.base import Builder
from dlrun.methods.byol import BYOL
from dlrun.training.update import Update

BETA, RATE, BATCH, FEATURES = 0.99, 0.2, 8, 16


def byol(*overrides: str) -> BYOL:
    config = check(
        compose_plain(
            ["method=byol", "method.predictor=none", "method.target_projector=false",
             f"method.projection={FEATURES}", f"method.tau={BETA}", "method.hidden=32",
             "model=resnet8", "model.width=4", *overrides],
            None,
        )
    )  # fmt: skip
    torch.manual_seed(0)
    info = DataInfo((1, 12, 12))
    return BYOL(config.method.options, Builder(config.model, config.loss, info)).train()


def views(seed: int) -> TwoViews:
    """Two that are not alike in mean and spread, so that mixing their statistics shows."""
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(BATCH, 1, 12, 12, generator=generator) for _ in range(2))
    return TwoViews(first, 2 + 3 * second, torch.arange(BATCH))


def take_step(method: BYOL, batch: TwoViews) -> Tensor:
    """The first step of a run, as the loop takes it; its loss."""
    parameters = list(method.parameter_groups()["main"])
    update = Update({"main": torch.optim.SGD(parameters, lr=RATE)}, CPU, lambda step: 1.0, total=10)
    update.begin(0)
    told = method.step(batch, update)
    update.finish()
    with torch.no_grad():
        method.after_update(update)
    return told["loss"].detach()


class Notebook:
    """Its computation, one step, from the same weights."""

    def __init__(self, method: BYOL, concatenated: bool) -> None:
        self.online_net = copy.deepcopy(method.online[0])
        self.online_projector = copy.deepcopy(method.online[1])
        self.target_net = copy.deepcopy(self.online_net)
        self.concatenated = concatenated

    @staticmethod
    def loss_fn(x: Tensor, y: Tensor) -> Tensor:
        x = F.normalize(x, dim=-1, p=2)
        y = F.normalize(y, dim=-1, p=2)
        return 2 - 2 * (x * y).sum(dim=-1)

    def through(self, network: nn.Module, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        """Both views through a network."""
        if self.concatenated:
            one, two = network(torch.cat((x1, x2), dim=0)).chunk(2, dim=0)
            return one, two
        return network(x1), network(x2)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        online = nn.Sequential(self.online_net, self.online_projector)
        online_pred_one, online_pred_two = self.through(online, x1, x2)
        with torch.no_grad():
            # The order in which running statistics see the views is ours; the notebook has none.
            target_proj_two, target_proj_one = self.through(self.target_net, x2, x1)
        loss_one = self.loss_fn(online_pred_one, target_proj_two.detach())
        loss_two = self.loss_fn(online_pred_two, target_proj_one.detach())
        return (loss_one + loss_two).mean()

    def step(self, batch: TwoViews) -> Tensor:
        trained = [*self.online_net.parameters(), *self.online_projector.parameters()]
        optimizer = torch.optim.SGD(trained, lr=RATE)
        loss = self.forward(batch.first, batch.second)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pairs = zip(self.online_net.parameters(), self.target_net.parameters(), strict=True)
        for current, average in pairs:
            average.data = average.data * BETA + (1 - BETA) * current.data
        return loss.detach()


def differences(ours: nn.Module, theirs: nn.Module) -> dict[str, float]:
    """Of weights and running statistics, by name."""
    state = theirs.state_dict()
    assert ours.state_dict().keys() == state.keys()
    return {
        name: float((value.float() - state[name].float()).abs().max())
        for name, value in ours.state_dict().items()
    }


@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_is_the_notebooks_with_the_views_apart(seed: int) -> None:
    """At the first step the rising decay is still the fixed one that they have."""
    method = byol()
    notebook = Notebook(method, concatenated=False)
    loss = notebook.step(views(seed))
    torch.testing.assert_close(take_step(method, views(seed)), loss, rtol=1e-5, atol=1e-6)
    trained = nn.Sequential(notebook.online_net, notebook.online_projector)
    assert max(differences(method.online, trained).values()) < 1e-5
    assert max(differences(method.target[0], notebook.target_net).values()) < 1e-5
    # The step was one: against the weights before it, nothing is equal.
    before = byol()
    assert min(differences(method.online, before.online).values()) > 0
    moved = differences(method.target[0], before.target[0])
    assert min(moved.values()) > 0


def test_views_in_one_batch_have_other_statistics_and_so_another_loss() -> None:
    method = byol()
    apart, together = Notebook(method, concatenated=False), Notebook(method, concatenated=True)
    losses = [notebook.step(views(0)) for notebook in (apart, together)]
    assert abs(losses[0] - losses[1]) > 0.01
    first = "stem.1.running_mean"
    assert first in apart.online_net.state_dict()
    counts = [
        int(notebook.online_net.state_dict()["stem.1.num_batches_tracked"])
        for notebook in (apart, together)
    ]
    assert counts == [2, 1]
    # One batch's mean of both views, against the two views' means one after the other.
    stem = byol().online[0].stem[0]  # type: ignore[index]
    assert isinstance(stem, nn.Module)
    one, two = (stem(x).mean((0, 2, 3)) for x in (views(0).first, views(0).second))
    torch.testing.assert_close(
        together.online_net.state_dict()[first], 0.1 * (one + two) / 2, rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        apart.online_net.state_dict()[first], 0.9 * 0.1 * one + 0.1 * two, rtol=1e-4, atol=1e-5
    )


def test_nothing_but_the_encoder_and_the_projector_is_trained() -> None:
    method = byol()
    held = {id(p) for p in method.parameter_groups()["main"]}
    trained = [*method.online[0].parameters(), *method.online[1].parameters()]
    assert held == {id(p) for p in trained}
    assert isinstance(method.predictor, nn.Identity)
    assert len(method.target) == 1
    assert not any(p.requires_grad for p in method.target.parameters())


def test_the_last_layer_of_the_notebooks_projector_has_a_bias_and_ours_has_none() -> None:
    """As in the authors' code; the notebook's begins at random, which a zero bias would be not."""
    last = list(byol().online[1].children())[-1]
    assert isinstance(last, nn.Linear) and last.bias is None
