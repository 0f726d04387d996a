"""Capsules piece by piece: against procedure 1 in plain Python, by hand, and in odd places."""

import math
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import config_of
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from dlrun.data.info import DataInfo
from dlrun.errors import UserError
from dlrun.losses.classification import margin
from dlrun.methods.base import Builder
from dlrun.methods.capsnet import CapsNet, _picture
from dlrun.models.autoencoder import MLPDecoder
from dlrun.models.capsnet import Capsules, as_capsules, route, squash

margin_loss = partial(margin, upper=0.9, lower=0.1, down_weight=0.5)
few = settings(deadline=None, max_examples=25, derandomize=True)


def capsules(
    shape: tuple[int, int, int] = (1, 12, 12), classes: int = 3, kernel: int = 3, routing: int = 3
) -> Capsules:
    torch.manual_seed(0)
    config = Capsules.Config(4, kernel, types=2, dim=4, class_dim=5, routing=routing)
    return Capsules(config, shape, classes)


# --- squash --------------------------------------------------------------------------------------


def test_squash_by_hand() -> None:
    s = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.6, 0.8]])
    expected = torch.tensor([[3 / 5, 4 / 5], [0.0, 1.0], [0.6, 0.8]]) * torch.tensor(
        [[25 / 26], [0.5], [0.5]]
    )
    torch.testing.assert_close(squash(s, 1), expected)
    torch.testing.assert_close(squash(s.T, 0), expected.T)


@few
@given(st.integers(0, 999), st.floats(1e-3, 1e4))
def test_squash_keeps_the_direction_and_a_length_below_one(seed: int, size: float) -> None:
    torch.manual_seed(seed)
    s = size * F.normalize(torch.randn(5, 8), dim=1)
    v = squash(s, 1)
    torch.testing.assert_close(F.normalize(v, dim=1), F.normalize(s, dim=1))
    expected = torch.full((5,), size**2 / (1 + size**2))
    torch.testing.assert_close(v.norm(dim=1), expected, rtol=1e-2 if size < 0.01 else 1e-4, atol=0)
    assert (v.norm(dim=1) < 1 + 1e-6).all()


def test_the_gradient_of_squash_is_finite_at_zero() -> None:
    """With the root's guard outside of it, or none, it would not be a number."""
    s = torch.zeros(2, 8, requires_grad=True)
    squash(s, 1).sum().backward()
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros(2, 8))


def test_squash_computes_in_float32_under_autocast() -> None:
    s = torch.randn(3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(squash(s, 1), squash(s, 1).float())
        assert squash(s.bfloat16(), 1).dtype == torch.float32


# --- primary capsules ----------------------------------------------------------------------------


def test_a_capsule_is_neighbouring_channels_at_one_position() -> None:
    """Value 100 c + 10 y + x says where it came from."""
    c, y, x = (torch.arange(n).float() for n in (6, 2, 3))
    maps = (100 * c[:, None, None] + 10 * y[:, None] + x)[None]
    found = as_capsules(maps, 3)
    assert found.shape == (1, 2 * 3 * 2, 3)
    expected = {
        tuple(100.0 * (3 * kind + i) + 10 * row + column for i in range(3))
        for kind in range(2) for row in range(2) for column in range(3)
    }  # fmt: skip
    assert {tuple(capsule.tolist()) for capsule in found[0]} == expected
    # The view alone takes pixels of one channel for a capsule.
    assert tuple(maps.reshape(1, -1, 3)[0, 0].tolist()) == (0.0, 1.0, 2.0)


def test_capsules_are_those_of_their_own_image_whatever_the_memory_format() -> None:
    maps = torch.randn(3, 6, 2, 2)
    whole = as_capsules(maps, 3)
    assert torch.equal(as_capsules(maps.contiguous(memory_format=torch.channels_last), 3), whole)
    for image, own in zip(maps, whole, strict=True):
        assert torch.equal(as_capsules(image[None], 3)[0], own)


# --- routing -------------------------------------------------------------------------------------


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def procedure_1(u_hat: list[Any], iterations: int) -> list[list[float]]:
    """Of one image, u_hat[i][j][d], in plain Python."""
    inputs, outputs, size = len(u_hat), len(u_hat[0]), len(u_hat[0][0])
    b = [[0.0] * outputs for _ in range(inputs)]
    v: list[list[float]] = []
    for iteration in range(iterations):
        c = [softmax(row) for row in b]
        v = []
        for j in range(outputs):
            s = [sum(c[i][j] * u_hat[i][j][d] for i in range(inputs)) for d in range(size)]
            squared = sum(x * x for x in s)
            v.append([squared / (1 + squared) * x / math.sqrt(squared) for x in s])
        if iteration < iterations - 1:
            for i in range(inputs):
                for j in range(outputs):
                    b[i][j] += sum(u_hat[i][j][d] * v[j][d] for d in range(size))
    return v


@few
@given(
    st.integers(0, 999), st.integers(1, 5), st.integers(2, 4), st.integers(1, 4), st.integers(1, 4)
)
def test_routing_is_procedure_1(seed: int, n: int, k: int, d: int, iterations: int) -> None:
    torch.manual_seed(seed)
    u_hat = 2 * torch.randn(2, n, k, d)
    expected = torch.tensor([procedure_1(one, iterations) for one in u_hat.tolist()])
    torch.testing.assert_close(route(u_hat, iterations), expected, rtol=1e-4, atol=1e-4)


class Counted(TorchDispatchMode):
    """How many softmaxes torch was asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.shapes: list[torch.Size] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        if function is torch.ops.aten._softmax.default:
            self.shapes.append(args[0].shape)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_an_iteration_is_one_softmax(iterations: int) -> None:
    with Counted() as counted:
        route(torch.randn(2, 6, 3, 4), iterations)
    assert len(counted.shapes) == iterations


def test_the_coupling_is_of_each_image_alone_and_is_forgotten() -> None:
    torch.manual_seed(0)
    u_hat = torch.randn(4, 6, 3, 4)
    whole = route(u_hat, 3)
    torch.testing.assert_close(torch.cat([route(one[None], 3) for one in u_hat]), whole)
    assert torch.equal(route(u_hat, 3), whole)
    assert {name for name, _ in capsules().named_parameters()} == {
        "conv.weight", "conv.bias", "primary.weight", "primary.bias", "weight",
    }  # fmt: skip
    assert not list(capsules().named_buffers())


def passes(u_hat: Tensor, iterations: int, detached: bool) -> Tensor:
    """The twin: every pass written out over (B, N, K, D), those before the last detached or not."""
    b = torch.zeros(u_hat.shape[:3])
    for iteration in range(iterations):
        last = iteration == iterations - 1
        votes = u_hat if last or not detached else u_hat.detach()
        v = squash((b.softmax(2)[..., None] * votes).sum(1), 2)
        if not last:
            b = b + (votes * v[:, None]).sum(3)
    return v


def test_the_gradient_goes_through_the_last_pass_alone() -> None:
    torch.manual_seed(0)
    u_hat, weights = torch.randn(2, 6, 3, 4), torch.randn(2, 3, 4)

    def gradient(function: Any) -> Tensor:
        x = u_hat.clone().requires_grad_()
        (found,) = torch.autograd.grad((function(x) * weights).sum(), x)
        return found

    ours = gradient(lambda x: route(x, 3))
    torch.testing.assert_close(ours, gradient(lambda x: passes(x, 3, detached=True)))
    assert (ours - gradient(lambda x: passes(x, 3, detached=False))).abs().max() > 0.05


def test_votes_in_bf16_give_nearly_the_same_capsules() -> None:
    """At the paper's size, at which rounding errors of 1,152 votes add up."""
    torch.manual_seed(0)
    u_hat = 0.05 * (torch.randn(2, 1152, 10, 16) + torch.randn(2, 1, 10, 16))
    exact, rounded = route(u_hat, 3), route(u_hat.bfloat16(), 3)
    assert rounded.dtype == torch.float32
    assert exact.norm(dim=2).max() > 0.8
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.01)


# --- the network ---------------------------------------------------------------------------------


def test_the_forward_pass_is_conv_conv_votes_routing() -> None:
    model = capsules()
    nn.init.normal_(model.weight)  # so that routing has something to agree on
    x = torch.rand(2, 1, 12, 12)
    maps = F.conv2d(F.relu(F.conv2d(x, model.conv.weight, model.conv.bias)),
                    model.primary.weight, model.primary.bias, stride=2)  # fmt: skip
    u = squash(as_capsules(maps, 4), 2)
    assert u.shape == (2, 4 * 4 * 2, 4)
    u_hat = torch.stack([
        torch.stack([
            torch.stack([model.weight[i, j] @ u[image, i] for j in range(3)]) for i in range(32)
        ])
        for image in range(2)
    ])  # fmt: skip
    torch.testing.assert_close(model(x), route(u_hat, 3), rtol=1e-4, atol=1e-5)
    assert (model(x) - route(u_hat, 1)).abs().max() > 1e-3  # the option is heard


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((1, 5, 5), 3), ((3, 6, 9), 3), ((1, 17, 17), 9), ((1, 18, 20), 9), ((3, 8, 7), 2)],
)
def test_there_is_a_matrix_for_every_position(shape: tuple[int, int, int], kernel: int) -> None:
    model = capsules(shape, kernel=kernel)
    assert model(torch.rand(2, *shape)).shape == (2, 3, 5)
    assert (model.num_classes, model.class_dim) == (3, 5)


@pytest.mark.parametrize(("shape", "kernel"), [((1, 16, 28), 9), ((3, 28, 16), 9), ((1, 4, 4), 3)])
def test_an_image_too_small_is_told(shape: tuple[int, int, int], kernel: int) -> None:
    wanted = rf"images are {shape[1]} x {shape[2]}.*{2 * kernel - 1} pixels.*dataset\.size"
    with pytest.raises(UserError, match=wanted):
        capsules(shape, kernel=kernel)


def test_at_first_no_class_is_there_whatever_the_number_of_capsules() -> None:
    """Else every length is near 1, where squash is flat."""
    for side in (12, 24, 48):
        lengths = capsules((1, side, side))(torch.rand(4, 1, side, side)).norm(dim=2)
        assert 1e-6 < lengths.mean() < 0.05


def test_capsules_that_are_zero_have_finite_gradients() -> None:
    model = capsules()
    for p in model.parameters():
        nn.init.zeros_(p)
    v = model(torch.rand(2, 1, 12, 12))
    assert torch.equal(v, torch.zeros(2, 3, 5))
    margin_loss(torch.linalg.vector_norm(v, dim=2), torch.tensor([0, 1])).mean().backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_the_decoder_gives_pixels_between_0_and_1() -> None:
    torch.manual_seed(0)
    decoder = MLPDecoder(MLPDecoder.Config(12, (512, 1024)), (3, 4, 5), 0)
    widths = [(m.in_features, m.out_features) for m in decoder if isinstance(m, nn.Linear)]
    assert widths == [(12, 512), (512, 1024), (1024, 60)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        picture = _picture(decoder, 1e3 * torch.randn(6, 3, 4), torch.arange(6) % 3)
    assert picture.shape == (6, 3, 4, 5)
    assert picture.dtype == torch.float32
    assert 0 <= picture.min() < 0.01
    assert 0.99 < picture.max() <= 1


def test_as_shipped_it_has_the_papers_parameters() -> None:
    config = config_of("method=capsnet")
    info = DataInfo((1, 28, 28), tuple("0123456789"))
    with torch.device("meta"):
        method = CapsNet(config.method.options, Builder(config.model, config.loss, info))
    assert sum(p.numel() for p in method.parameters()) == 8_215_568
    assert sum(p.numel() for p in method.capsules.parameters()) == 6_804_224
    assert method.capsules.weight.shape == (1152, 10, 16, 8)


# --- the margin loss -----------------------------------------------------------------------------


def test_margin_loss_by_hand() -> None:
    lengths = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.3, 0.1], [0.0, 1.0, 1.0]])
    labels = torch.tensor([0, 0, 0])
    expected = [0.0, 0.4**2 + 0.5 * 0.2**2, 0.9**2 + 0.5 * (0.9**2 + 0.9**2)]
    assert margin_loss(lengths, labels).tolist() == pytest.approx(expected, abs=1e-6)
    module = partial(margin, upper=0.8, lower=0.2, down_weight=0.25)
    expected = [0.0, 0.3**2 + 0.25 * 0.1**2, 0.8**2 + 0.25 * (0.8**2 + 0.8**2)]
    assert module(lengths, labels).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_margin_is_within_reach_of_lengths_and_not_of_their_softmax() -> None:
    best = torch.eye(10)
    assert margin_loss(best, torch.arange(10)).tolist() == [0.0] * 10
    softened = best.softmax(1)
    assert softened.max().item() == pytest.approx(math.e / (math.e + 9), abs=1e-6)
    assert (margin_loss(softened, torch.arange(10)) > 0.44).all()


def test_margins_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(UserError, match=r"loss: lower: got 0\.95, expected at most upper, 0\.9"):
        config_of("method=capsnet", "loss.lower=0.95")
