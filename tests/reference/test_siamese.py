"""Siamese networks against the papers' formulas, loop by loop."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from parts import method_of, take_step, updating
from torch import Tensor, nn

from dlrun.data.batches import Grouped, TwoViews
from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.methods.siamese import Siamese
from dlrun.training.update import Update

LR, MARGIN, STEPS = 0.1, 0.02, 3
LABEL = torch.tensor([0, 0, 1, 1, 1, 2, 0, 3])  # 2 and 3 have no positive


def triplet(a: Tensor, p: Tensor, n: Tensor) -> Tensor:
    """Of one triplet, literally."""
    return torch.clamp(distance(a, p) - distance(a, n) + MARGIN, min=0)


def triplet_squared(a: Tensor, p: Tensor, n: Tensor) -> Tensor:
    return torch.clamp(distance(a, p) ** 2 - distance(a, n) ** 2 + MARGIN, min=0)


def contrastive(a: Tensor, p: Tensor, n: Tensor) -> Tensor:
    return distance(a, p) ** 2 / 2 + torch.clamp(1 - distance(a, n), min=0) ** 2 / 2


def distance(x: Tensor, y: Tensor) -> Tensor:
    total = torch.zeros(())
    for i in range(len(x)):
        total = total + (x[i] - y[i]) ** 2
    return total.sqrt()


LITERAL: dict[str, Callable[..., Tensor]] = {
    "triplet": triplet, "triplet squared": triplet_squared, "contrastive": contrastive,
}  # fmt: skip
LOSSES = {
    "triplet": ("loss=triplet", f"loss.margin={MARGIN}"),
    "triplet squared": ("loss=triplet", f"loss.margin={MARGIN}", "loss.squared=true"),
    "contrastive": ("loss=contrastive",),
}


def siamese(
    loss: str = "triplet", mining: str = "semihard", positives: str = "class",
    normalize: bool = True,
) -> Siamese:  # fmt: skip
    made: Siamese = method_of(
        "method=siamese", "model=resnet8", "model.width=4", *LOSSES[loss], "method.embedding=6",
        f"method.normalize={normalize}", f"method.mining={mining}",
        f"method.positives={positives}", info=DataInfo((1, 12, 12), tuple("0123")),
    )  # fmt: skip
    return made


def sgd(method: Siamese) -> Update:
    return updating(method, total=STEPS, lr=LR)


def grouped(image: Tensor, label: Tensor = LABEL) -> Grouped:
    return Grouped(image, label, torch.arange(len(image)))


def literal_triplets(z: Tensor, label: list[int], mining: str) -> list[tuple[int, int, int]]:
    """One for each image that can have one; a random choice is that of the largest of B numbers."""
    size = len(label)
    anchors = []
    for a in range(size):
        positive = [i for i in range(size) if label[i] == label[a] and i != a]
        negative = [i for i in range(size) if label[i] != label[a]]
        if positive and negative:
            anchors.append((a, positive, negative))
    rows = z.detach().double().tolist()
    draw_p = torch.rand(len(anchors), size).tolist() if mining != "hard" else []
    draw_n = torch.rand(len(anchors), size).tolist() if mining == "random" else []
    triplets = []
    for k, (a, positive, negative) in enumerate(anchors):
        d = [math.dist(rows[a], rows[i]) for i in range(size)]
        if mining == "hard":
            p, n = max(positive, key=d.__getitem__), min(negative, key=d.__getitem__)
        elif mining == "random":
            p = max(positive, key=draw_p[k].__getitem__)
            n = max(negative, key=draw_n[k].__getitem__)
        else:
            p = max(positive, key=draw_p[k].__getitem__)
            farther = [i for i in negative if d[i] > d[p]]
            n = min(farther, key=d.__getitem__) if farther else max(negative, key=d.__getitem__)
        triplets.append((a, p, n))
    return triplets


def assert_same(ours: nn.Module, literal: nn.Module) -> None:
    """Weights and buffers: running means, variances and counts too."""
    state = literal.state_dict()
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("loss", "mining", "positives", "normalize"),
    [
        ("triplet", "random", "class", True),
        ("triplet", "hard", "class", True),
        ("triplet", "semihard", "class", True),
        ("triplet", "hard", "class", False),
        ("triplet squared", "semihard", "class", True),
        ("contrastive", "random", "class", False),
        ("contrastive", "hard", "class", True),
        ("triplet", "semihard", "view", True),
        ("contrastive", "random", "view", True),
    ],
)
def test_steps_are_the_formulas(loss: str, mining: str, positives: str, normalize: bool) -> None:
    method = siamese(loss, mining, positives, normalize)
    update = sgd(method)
    f, g = copy.deepcopy(method.encoder), copy.deepcopy(method.projection)

    def embed(x: Tensor) -> Tensor:
        z: Tensor = g(f(x))
        return z / z.square().sum(1, keepdim=True).sqrt() if normalize else z

    for step in range(STEPS):
        v, w = torch.randn(8, 1, 12, 12), torch.randn(8, 1, 12, 12)
        rows = torch.randperm(100)[:8]
        views = TwoViews(v, w, rows, label=torch.zeros(8, dtype=torch.int64))
        torch.manual_seed(step)
        metrics = take_step(method, update, views if positives == "view" else grouped(v), step)

        if positives == "view":
            z, label = torch.cat([embed(v), embed(w)]), [*rows.tolist(), *rows.tolist()]
        else:
            z, label = embed(v), LABEL.tolist()
        torch.manual_seed(step)
        triplets = literal_triplets(z, label, mining)
        assert len(triplets) == (16 if positives == "view" else 6)
        losses = [LITERAL[loss](z[a], z[p], z[n]) for a, p, n in triplets]
        mean = sum(losses, torch.zeros(())) / len(losses)
        weights = [*f.parameters(), *g.parameters()]
        for weight, slope in zip(weights, torch.autograd.grad(mean, weights), strict=True):
            with torch.no_grad():
                weight -= LR * slope

        torch.testing.assert_close(metrics["loss"], mean, rtol=1e-5, atol=1e-6)
        violated = sum(float(x.detach()) > 0 for x in losses) / len(losses)
        assert float(metrics["violations"]) == pytest.approx(violated)
        assert 0 < violated < 1 or (loss, mining) != ("triplet", "random")
        for name, other in (("positive_distance", 1), ("negative_distance", 2)):
            apart = [float(distance(z[t[0]], z[t[other]]).detach()) for t in triplets]
            assert float(metrics[name]) == pytest.approx(sum(apart) / len(apart), rel=1e-5)
        assert_same(method.encoder, f)
        assert_same(method.projection, g)


def test_the_views_do_not_share_batch_statistics() -> None:
    method = siamese(positives="view")
    v, w = torch.randn(6, 1, 12, 12), 5 + 3 * torch.randn(6, 1, 12, 12)
    apart, joint = copy.deepcopy(method), copy.deepcopy(method)
    views = TwoViews(v, w, torch.arange(6))
    torch.manual_seed(0)
    take_step(method, sgd(method), views)
    means = []
    for other, batches in ((apart, [v, w]), (joint, [torch.cat([v, w])])):
        for x in batches:
            other(x)
        means.append(other.encoder.stem[1].running_mean)
    torch.testing.assert_close(method.encoder.stem[1].running_mean, means[0])
    assert (means[0] - means[1]).abs().max() > 0.01


@pytest.mark.parametrize("mining", ["random", "hard", "semihard"])
@pytest.mark.parametrize("labels", [[1] * 8, list(range(8))])
def test_a_batch_without_a_triplet_changes_nothing(mining: str, labels: list[int]) -> None:
    """0 that can be differentiated, not NaN: the run goes on."""
    method = siamese(mining=mining)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    batch = grouped(torch.randn(8, 1, 12, 12), torch.tensor(labels))
    metrics = take_step(method, sgd(method), batch)
    assert all(float(value) == 0 for value in metrics.values())
    assert all(torch.equal(p, before[name]) for name, p in method.named_parameters())


@pytest.mark.parametrize("mining", ["random", "hard", "semihard"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("normalize", [True, False])
def test_embeddings_that_coincide_do_no_harm(mining: str, loss: str, normalize: bool) -> None:
    """A class of one image repeats it; a square root has no slope at 0."""
    method = siamese(loss, mining, normalize=normalize)
    update = sgd(method)
    image = torch.randn(3, 1, 12, 12)[[0, 0, 1, 1, 1, 2, 0, 0]]
    for step in range(2):
        metrics = take_step(method, update, grouped(image), step)
        assert all(value.isfinite() for value in metrics.values())
    same = torch.randn(1, 1, 12, 12).expand(8, -1, -1, -1)
    metrics = take_step(method, update, grouped(same), 2)
    assert float(metrics["negative_distance"]) < 1e-4
    for name, parameter in method.named_parameters():
        assert parameter.isfinite().all(), name


def test_in_bf16_what_is_compared_is_float32() -> None:
    method = siamese()
    image = torch.randn(8, 1, 12, 12)
    wide = method(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert method.projection(method.encoder(image)).dtype == torch.bfloat16
        z = method(image)
        metrics = take_step(method, sgd(method), grouped(image))
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones(8))  # not only to three digits
    torch.testing.assert_close(z, wide, atol=0.1, rtol=0)
    assert all(v.dtype == torch.float32 and v.isfinite() for v in metrics.values())


def test_the_embedding() -> None:
    image = torch.randn(5, 1, 12, 12)
    unit, free = siamese().eval(), siamese(normalize=False).eval()
    z = free.embed(image)
    assert z.shape == (5, 6)
    assert torch.equal(z, free.projection(free.encoder(image)))
    torch.testing.assert_close(unit.embed(image), z / z.norm(dim=1, keepdim=True))


def test_two_views_of_one_image_have_no_negative() -> None:
    image = torch.randn(1, 1, 12, 12)
    method = siamese(positives="view")
    with pytest.raises(UserError, match=r"batch_size: got 1, .* expected an integer >= 2"):
        take_step(method, sgd(method), TwoViews(image, image, torch.arange(1)))
