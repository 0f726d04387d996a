"""CapsNet's step against the paper written out with loops; masks, weights, capabilities."""

import copy

import pytest
import torch
from parts import method_of, take_step, updating
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import EvalBatch, Labelled
from dlrun.data.info import DataInfo
from dlrun.methods.abilities import Embeds, Predicts, Reconstructs, Samples
from dlrun.methods.capsnet import CapsNet
from dlrun.methods.hooks import Validates

SHAPE, CLASSES, DIM, CLASS_DIM, ROUTING, WEIGHT = (1, 9, 9), 3, 2, 4, 3, 0.0005


def capsnet(decoder: bool = True, weight: float = WEIGHT) -> CapsNet:
    made: CapsNet = method_of(
        "method=capsnet", "model.channels=3", "model.kernel=3", "model.types=2",
        f"model.dim={DIM}", f"model.class_dim={CLASS_DIM}", f"model.routing={ROUTING}",
        f"method.decoder={decoder}", f"method.reconstruction_weight={weight}",
        info=DataInfo(SHAPE, tuple(str(k) for k in range(CLASSES))),
    )  # fmt: skip
    return made


def batch_of(size: int, seed: int = 1) -> Labelled:
    torch.manual_seed(seed)
    image, label = torch.rand(size, *SHAPE), torch.randint(CLASSES, (size,))
    return Labelled(image, label, torch.arange(size))


# --- one step, literally -------------------------------------------------------------------------


def squashed(s: Tensor) -> Tensor:
    squared = (s * s).sum()
    return squared / (1 + squared) * (s / torch.sqrt(squared + 1e-8))


def class_capsules(method: CapsNet, image: Tensor) -> list[Tensor]:
    """Of one image (C, H, W), capsule by capsule."""
    model = method.capsules
    maps = F.relu(F.conv2d(image[None], model.conv.weight, model.conv.bias))
    maps = F.conv2d(maps, model.primary.weight, model.primary.bias, stride=2)[0]
    u = []
    for y in range(maps.shape[1]):
        for x in range(maps.shape[2]):
            for first in range(0, maps.shape[0], DIM):
                u.append(squashed(maps[first : first + DIM, y, x]))
    u_hat = [[model.weight[i, j] @ u[i] for j in range(CLASSES)] for i in range(len(u))]
    b = [torch.zeros(CLASSES) for _ in u]
    v: list[Tensor] = []
    for iteration in range(ROUTING):
        last = iteration == ROUTING - 1
        votes = u_hat if last else [[vote.detach() for vote in row] for row in u_hat]
        c = [torch.softmax(row, 0) for row in b]
        v = []
        for j in range(CLASSES):
            s = torch.zeros(CLASS_DIM)
            for i in range(len(u)):
                s = s + c[i][j] * votes[i][j]
            v.append(squashed(s))
        if not last:
            b = [b[i] + torch.stack([votes[i][j] @ v[j] for j in range(CLASSES)])
                 for i in range(len(u))]  # fmt: skip
    return v


def literal_losses(method: CapsNet, batch: Labelled) -> tuple[Tensor, Tensor, float]:
    """Margin and squared error, each averaged over the batch, and the share that is right."""
    margins, errors, right = [], [], 0
    for image, label in zip(batch.image, batch.label.tolist(), strict=True):
        v = class_capsules(method, image)
        lengths = [(x * x).sum().sqrt() for x in v]
        terms = [
            F.relu(0.9 - lengths[k]) ** 2 if k == label else 0.5 * F.relu(lengths[k] - 0.1) ** 2
            for k in range(CLASSES)
        ]
        margins.append(torch.stack(terms).sum())
        code = torch.cat([v[k] if k == label else torch.zeros(CLASS_DIM) for k in range(CLASSES)])
        assert method.decoder is not None
        first, second, third = (m for m in method.decoder if isinstance(m, nn.Linear))
        pixels = torch.sigmoid(third(F.relu(second(F.relu(first(code))))))
        errors.append(((pixels - image.flatten()) ** 2).sum())
        right += max(range(CLASSES), key=lambda k: lengths[k].item()) == label
    return torch.stack(margins).mean(), torch.stack(errors).mean(), right / len(batch.label)


def test_steps_are_the_papers_written_out() -> None:
    method = capsnet(weight=0.05)  # so that the decoder's part shows in the weights
    nn.init.normal_(method.capsules.weight, std=2.0)  # so that routing has something to agree on
    twin = copy.deepcopy(method)
    update = updating(method, torch.optim.Adam, lr=1e-2)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2)
    for step in range(3):
        batch = batch_of(4, seed=step)
        told = take_step(method, update, batch, step)
        margin, error, accuracy = literal_losses(twin, batch)
        loss = margin + 0.05 * error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected = {"loss": loss, "margin": margin, "reconstruction": error, "accuracy": accuracy}
        assert told.keys() == expected.keys()
        for name, value in expected.items():
            assert told[name].item() == pytest.approx(torch.as_tensor(value).item(), rel=1e-4), name
        for (name, ours), literal in zip(method.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours, literal, rtol=0, atol=1e-4, msg=name)
    fresh = dict(capsnet(weight=0.05).named_parameters())
    moved = [
        (p - fresh[name]).abs().max() for name, p in method.named_parameters()
    ]  # the tolerance is small beside it
    assert min(moved) > 0.01


# --- the parts of the loss -----------------------------------------------------------------------


def test_training_decodes_the_true_classs_capsule_and_evaluation_the_longest() -> None:
    method, batch = capsnet(), batch_of(8)
    nn.init.normal_(method.capsules.weight)
    v = method.capsules(batch.image).detach()
    longest = v.norm(dim=2).argmax(1)
    assert (longest != batch.label).any()  # else there would be nothing to tell apart
    codes: list[Tensor] = []
    assert method.decoder is not None
    method.decoder.register_forward_pre_hook(lambda module, given: codes.append(given[0].detach()))
    method.step(batch, updating(method))
    method.eval()
    assert method.reconstruct is not None
    picture = method.reconstruct(batch.image)
    told = method.validate(EvalBatch(batch.image, batch.label))
    for code, chosen in zip(codes, (batch.label, longest, longest), strict=True):
        expected = torch.zeros(8, CLASSES, CLASS_DIM)
        for row, k in enumerate(chosen.tolist()):
            expected[row, k] = v[row, k]
        torch.testing.assert_close(code, expected.flatten(1))
    error = (picture - batch.image).square().sum((1, 2, 3))
    torch.testing.assert_close(told["reconstruction"], error)
    torch.testing.assert_close(told["margin"], method.loss(v.norm(dim=2), batch.label))


def test_the_reconstruction_teaches_the_true_classs_capsule_alone() -> None:
    method, batch = capsnet(weight=1.0), batch_of(4)
    method.loss = Zero()
    gradients: list[Tensor] = []

    def watch(module: nn.Module, given: tuple[Tensor], v: Tensor) -> None:
        v.register_hook(gradients.append)

    method.capsules.register_forward_hook(watch)
    method.step(batch, updating(method))
    touched = gradients[0].abs().amax(2) > 0
    assert torch.equal(touched, F.one_hot(batch.label, CLASSES).bool())


class Zero(nn.Module):
    """No margin loss."""

    def forward(self, lengths: Tensor, labels: Tensor) -> Tensor:
        return 0 * lengths.sum(1)


# --- what it can do ------------------------------------------------------------------------------


@pytest.mark.parametrize("decoder", [True, False])
def test_it_reconstructs_only_with_a_decoder(decoder: bool) -> None:
    method, batch = capsnet(decoder=decoder), batch_of(5)
    assert isinstance(method, Reconstructs) == decoder
    assert isinstance(method, Predicts)
    assert isinstance(method, Embeds)
    assert isinstance(method, Validates)
    assert not isinstance(method, Samples)
    parts = {"margin", "reconstruction"} if decoder else {"margin"}
    assert method.validate(EvalBatch(batch.image, batch.label)).keys() == parts
    assert method.validate(EvalBatch(batch.image)).keys() == parts - {"margin"}
    told = method.step(batch, updating(method))
    assert told.keys() == {"loss", "accuracy"} | parts
    assert decoder or told["loss"] == told["margin"]
    assert any(name.startswith("decoder.") for name in method.state_dict()) == decoder
    assert torch.equal(method.embed(batch.image), method.capsules(batch.image).flatten(1))
    assert method.embed(batch.image).shape == (5, CLASSES * CLASS_DIM)


def test_a_copy_reconstructs_by_its_own_weights() -> None:
    method, image = capsnet(), torch.rand(2, *SHAPE)
    other = copy.deepcopy(method)
    assert method.reconstruct is not None
    assert other.reconstruct is not None
    before = method.reconstruct(image)
    with torch.no_grad():
        for p in method.parameters():
            p.add_(1)
    assert torch.equal(other.reconstruct(image), before)
    assert not torch.equal(method.reconstruct(image), before)
