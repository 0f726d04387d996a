"""The U-Net generator against the authors' recursion, and which images it takes."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.generator import UNetGenerator

Shape = tuple[int, int, int]


def unet(shape: Shape, width: int = 4, depth: int | None = None) -> UNetGenerator:
    return UNetGenerator(UNetGenerator.Config(width=width, depth=depth), shape, 0)


class LiteralBlock(nn.Module):
    """A level of the authors' U-Net, which holds the one below it; its LeakyReLU works in place."""

    def __init__(self, outer: int, inner: int, below: nn.Module | None, place: str) -> None:
        super().__init__()
        self.outermost = place == "outermost"
        channels = outer if place != "outermost" else 3
        conv = nn.Conv2d(channels, inner, 4, 2, 1)
        leaky, relu = nn.LeakyReLU(0.2, True), nn.ReLU(True)
        upward = nn.ConvTranspose2d(inner if below is None else 2 * inner, channels, 4, 2, 1)
        layers: list[nn.Module] = [conv] if self.outermost else [leaky, conv]
        if place == "middle":
            layers.append(nn.InstanceNorm2d(inner))
        if below is not None:
            layers.append(below)
        layers += [relu, upward]
        layers.append(nn.Tanh() if self.outermost else nn.InstanceNorm2d(channels))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.outermost:
            return self.model(x)  # type: ignore[no-any-return]
        return torch.cat([x, self.model(x)], 1)


def literal(width: int, depth: int) -> LiteralBlock:
    """From the innermost level outwards, as the authors build it; depth 5 or more."""
    block = LiteralBlock(width * 8, width * 8, None, "innermost")
    for _ in range(depth - 5):
        block = LiteralBlock(width * 8, width * 8, block, "middle")
    for outer, inner in ((4, 8), (2, 4), (1, 2)):
        block = LiteralBlock(width * outer, width * inner, block, "middle")
    return LiteralBlock(3, width, block, "outermost")


@pytest.mark.parametrize("depth", [5, 6, 7])
def test_it_computes_what_the_authors_recursion_does(depth: int) -> None:
    torch.manual_seed(0)
    ours, theirs = unet((3, 2**depth, 2**depth), depth=None), literal(4, depth)
    convolutions = [m for m in theirs.modules() if isinstance(m, nn.Conv2d)]
    transposed = [m for m in theirs.modules() if isinstance(m, nn.ConvTranspose2d)]
    down = [m for m in ours.modules() if isinstance(m, nn.Conv2d)]
    up = [m for m in ours.modules() if isinstance(m, nn.ConvTranspose2d)]
    for mine, other in zip([*down, *up], [*convolutions, *transposed], strict=True):
        nn.init.normal_(mine.weight, 0, 0.1)
        nn.init.normal_(mine.bias, 0, 0.1)  # type: ignore[arg-type]
        other.load_state_dict(mine.state_dict())
    x = torch.randn(2, 3, 2**depth, 2**depth)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def test_parameters_at_256_pixels() -> None:
    """The authors' unet_256 with instance norm, counted layer by layer."""
    downs = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    count = sum(16 * a * b + b for a, b in itertools.pairwise(downs))
    ups = [(512, 512), (1024, 512), (1024, 512), (1024, 512), (1024, 256), (512, 128), (256, 64)]
    count += sum(16 * a * b + b for a, b in [*ups, (128, 3)])
    with torch.device("meta"):
        network = unet((3, 256, 256), width=64)
    assert sum(p.numel() for p in network.parameters()) == count
    assert len(network.downs) == 8


@pytest.mark.parametrize(
    ("shape", "depth", "bottom"),
    [((1, 28, 28), 2, 7), ((3, 32, 32), 5, 1), ((3, 64, 64), 6, 1), ((3, 32, 64), 5, 1)],
)
def test_it_goes_down_as_far_as_the_sides_can_be_halved(
    shape: Shape, depth: int, bottom: int
) -> None:
    network, x = unet(shape), 3 * torch.randn(2, *shape)
    assert len(network.downs) == depth
    y = network(x)
    assert y.shape == x.shape and y.abs().max() <= 1
    for layer in network.downs:
        x = layer(x)
    assert x.shape[2] == bottom
    y.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize(
    ("shape", "depth", "message"),
    [
        ((1, 30, 30), None, "images are 30 x 30, expected sides that are multiples of 4"),
        ((1, 28, 28), 3, "multiples of 8 .*; set dataset.size or model.depth=2 at most"),
        ((3, 32, 32), 6, "multiples of 64 .*model.depth=5 at most"),
        ((1, 32, 27), None, "images are 32 x 27, expected sides that are multiples of 4"),
    ],
)
def test_sizes_that_it_cannot_take(shape: Shape, depth: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        unet(shape, depth=depth)
    assert len(str(caught.value).splitlines()) == 1
