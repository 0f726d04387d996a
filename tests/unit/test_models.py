"""Networks: shapes, parameter counts, receptive fields, and which images they refuse."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.models.autoencoder import ConvAutoencoder, MLPAutoencoder
from dlrun.models.build import build_model
from dlrun.models.discriminator import PatchGAN
from dlrun.models.generator import ResNetGenerator
from dlrun.models.mlp import MLP
from dlrun.models.resnet import ResNet
from dlrun.options import Choice

Shape = tuple[int, int, int]


def mlp(shape: Shape, hidden: tuple[int, ...] = (8, 4), batch_norm: bool = False) -> MLP:
    return MLP(MLP.Config(hidden=hidden, batch_norm=batch_norm), shape, 10)


def resnet(shape: Shape, depth: int = 8, width: int = 4) -> ResNet:
    return ResNet(ResNet.Config(depth=depth, width=width), shape, 10)


def mlp_autoencoder(shape: Shape, hidden: int = 16) -> MLPAutoencoder:
    return MLPAutoencoder(MLPAutoencoder.Config(hidden=hidden), shape, 10)


def conv_autoencoder(shape: Shape, width: int = 4, hidden: int = 16) -> ConvAutoencoder:
    return ConvAutoencoder(ConvAutoencoder.Config(width=width, hidden=hidden), shape, 10)


def generator(shape: Shape, width: int = 4, blocks: int = 1) -> ResNetGenerator:
    return ResNetGenerator(ResNetGenerator.Config(width=width, blocks=blocks), shape, 10)


def patchgan(shape: Shape, width: int = 4, layers: int = 1) -> PatchGAN:
    return PatchGAN(PatchGAN.Config(width=width, layers=layers), shape, 10)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


SIZES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (2, 32, 64)]


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("build", [mlp, resnet])
def test_encoders_give_features(build: Callable[[Shape], Any], shape: Shape) -> None:
    network = build(shape)
    features = network(torch.randn(3, *shape))
    assert features.shape == (3, network.feature_dim)
    assert (features >= 0).all()


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("build", [mlp_autoencoder, conv_autoencoder])
def test_autoencoders_give_a_code_and_an_image(build: Callable[[Shape], Any], shape: Shape) -> None:
    network = build(shape)
    h = network.encoder(torch.randn(3, *shape))
    assert h.shape == (3, network.hidden_dim)
    assert network.decoder(7)(torch.randn(3, 7)).shape == (3, *shape)
    assert network.decoder(7) is not network.decoder(7)


@pytest.mark.parametrize("shape", SIZES)
def test_generators_give_images_in_the_symmetric_range(shape: Shape) -> None:
    y = generator(shape)(10 * torch.randn(2, *shape))
    assert y.shape == (2, *shape)
    assert y.abs().max() <= 1


@pytest.mark.parametrize(("size", "layers", "side"), [(28, 1, 12), (32, 2, 6), (64, 3, 6)])
def test_discriminators_give_a_map_of_scores(size: int, layers: int, side: int) -> None:
    network = patchgan((3, size, size), layers=layers)
    assert network(torch.randn(2, 3, size, size)).shape == (2, 1, side, side)
    assert isinstance(network.layers[-1], nn.Conv2d)  # and no sigmoid behind it


def test_stages_of_a_resnet_halve_the_image_twice() -> None:
    network = resnet((3, 32, 32))
    x = network.stem(torch.randn(1, 3, 32, 32))
    shapes = [tuple(x.shape[1:])]
    for stage in (network.stage1, network.stage2, network.stage3):
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8)]


def test_the_registry_builds_them() -> None:
    choice = Choice("resnet", ResNet.Config(depth=8, width=4))
    assert isinstance(build_model(choice, (3, 32, 32), 10), ResNet)


# --- how many parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(("blocks", "expected"), [(9, 11_378_179), (6, 7_837_699)])
def test_the_papers_generator(blocks: int, expected: int) -> None:
    with torch.device("meta"):  # shapes without the arithmetic
        assert parameters(generator((3, 256, 256), width=64, blocks=blocks)) == expected


def test_the_papers_discriminator() -> None:
    with torch.device("meta"):
        network = patchgan((3, 256, 256), width=64, layers=3)
        assert parameters(network) == 2_764_737
        assert network(torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30)


def test_resnet20_counts_271824_without_its_classifier() -> None:
    """Of the paper's 0.27 million; 2,752 of them are the 1 x 1 shortcuts, its option B."""
    assert parameters(resnet((3, 32, 32), depth=20, width=16)) == 271_824


@pytest.mark.parametrize("depth", [8, 14, 20, 56])
def test_the_depth_of_a_resnet_counts_the_layers_in_line(depth: int) -> None:
    with torch.device("meta"):
        network = resnet((3, 32, 32), depth=depth)
    in_line = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and "shortcut" not in name
    ]
    assert len(in_line) + 1 == depth  # and the classifier, which belongs to the method


def test_the_mlp_has_the_widths_it_was_told() -> None:
    assert parameters(mlp((1, 28, 28), (8, 4))) == 784 * 8 + 8 + 8 * 4 + 4
    # Batch norm's shift takes the place of the bias; it has a scale besides.
    assert parameters(mlp((1, 28, 28), (8, 4), batch_norm=True)) == 784 * 8 + 16 + 8 * 4 + 8


def test_the_mlp_autoencoder_is_the_seeds_network() -> None:
    """784-128 up to the code of 20, and back."""
    network = mlp_autoencoder((1, 28, 28), hidden=128)
    assert parameters(network.encoder) == 784 * 128 + 128
    assert parameters(network.decoder(20)) == 20 * 128 + 128 + 128 * 784 + 784


# --- what they compute ---------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field_of_the_discriminator(layers: int, field: int) -> None:
    """The pixels that one score's gradient reaches, without instance norm, which sees them all."""
    network = patchgan((1, 128, 128), layers=layers)
    for number, module in enumerate(network.layers):
        if isinstance(module, nn.InstanceNorm2d):
            network.layers[number] = nn.Identity()
    image = torch.randn(1, 1, 128, 128, requires_grad=True)
    scores = network(image)
    middle = scores.shape[-1] // 2
    scores[0, 0, middle, middle].backward()
    assert image.grad is not None
    reached = image.grad[0, 0] != 0
    rows, columns = reached.any(1).nonzero(), reached.any(0).nonzero()
    assert int(rows.max() - rows.min()) + 1 == field
    assert int(columns.max() - columns.min()) + 1 == field


@pytest.mark.parametrize(
    "network", [generator((3, 16, 16)), patchgan((3, 32, 32), layers=2)], ids=["G", "D"]
)
def test_instance_norm_keeps_no_statistics_so_evaluation_is_training(network: nn.Module) -> None:
    norms = [m for m in network.modules() if isinstance(m, nn.InstanceNorm2d)]
    assert norms
    assert not any(m.track_running_stats or m.affine for m in norms)
    assert not list(network.buffers())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(network.train()(x), network.eval()(x))


def test_instance_norm_treats_every_image_by_itself() -> None:
    """What lets CycleGAN give a generator two batches in one call."""
    torch.manual_seed(0)
    network, a, b = generator((1, 16, 16)), torch.randn(2, 1, 16, 16), torch.randn(2, 1, 16, 16)
    together = network(torch.cat([a, b]))
    torch.testing.assert_close(together, torch.cat([network(a), network(b)]))


@pytest.mark.parametrize(
    "network", [generator((3, 16, 16), width=16), patchgan((3, 64, 64), width=16, layers=3)]
)
def test_gan_weights_begin_small(network: nn.Module) -> None:
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    weights = torch.cat([m.weight.detach().flatten() for m in convolutions])
    assert weights.mean().item() == pytest.approx(0, abs=1e-3)
    assert weights.std().item() == pytest.approx(0.02, rel=0.03)
    assert all(m.bias is not None and (m.bias == 0).all() for m in convolutions)


def test_resnet_weights_keep_the_gradients_variance() -> None:
    """He et al. 2015, equation 14: variance 2 / (outgoing channels * 9)."""
    torch.manual_seed(0)
    network = resnet((3, 32, 32), depth=8, width=32)
    weight = network.stage3[0].conv2.weight.detach()
    assert weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)


def test_a_residual_block_adds_to_what_it_is_given() -> None:
    network = resnet((4, 8, 8), width=4)
    block = network.stage1[0]
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(block(x), x)  # not negative, so the ReLU behind the sum leaves it
    residual = generator((1, 16, 16)).layers[10]
    for parameter in residual.parameters():
        nn.init.zeros_(parameter)
    y = torch.randn(2, 16, 4, 4)
    assert torch.equal(residual(y), y)


def test_resnet_in_channels_last_computes_the_same() -> None:
    torch.manual_seed(0)
    network, x = resnet((3, 32, 32)), torch.randn(4, 3, 32, 32)
    expected = network(x)
    network.to(memory_format=torch.channels_last)
    got = network(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 7, 18, 21, 34])
def test_resnet_of_a_depth_that_is_not_6n_plus_2(depth: int) -> None:
    with pytest.raises(UserError, match=rf"model.depth: got {depth}, expected 6n \+ 2"):
        resnet((3, 32, 32), depth=depth)


@pytest.mark.parametrize("build", [conv_autoencoder, generator])
def test_sides_that_are_no_multiples_of_four(build: Callable[[Shape], nn.Module]) -> None:
    with pytest.raises(UserError, match="images are 28 x 30, expected sides"):
        build((1, 28, 30))


def _smallest(build: Callable[[int], nn.Module], sizes: range) -> int:
    """The first size that is not refused."""
    for size in sizes:
        try:
            build(size)
        except UserError:
            continue
        return size
    raise AssertionError("all were refused")


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_image_that_a_discriminator_takes_runs_and_the_next_is_refused(
    layers: int,
) -> None:
    size = _smallest(lambda n: patchgan((1, n, n), layers=layers), range(1, 80))
    assert size == 3 * 2**layers
    scores: Tensor = patchgan((1, size, size), layers=layers)(torch.randn(2, 1, size, size))
    assert scores.shape == (2, 1, 1, 1)
    assert scores.isfinite().all()
    with pytest.raises(UserError, match=rf"method.discriminator.layers: got {layers}, too deep"):
        patchgan((1, size, size - 1), layers=layers)  # the smaller side decides


def test_the_smallest_image_that_a_generator_takes_runs() -> None:
    size = _smallest(lambda n: generator((1, n, n)), range(4, 32, 4))
    assert size == 8
    assert generator((1, size, size))(torch.randn(1, 1, size, size)).shape == (1, 1, size, size)


@pytest.mark.parametrize("build", [mlp, resnet, mlp_autoencoder, conv_autoencoder])
def test_encoders_take_images_of_four_pixels(build: Callable[[Shape], Any]) -> None:
    network = build((1, 4, 4))
    encoder = getattr(network, "encoder", network)
    assert encoder(torch.randn(2, 1, 4, 4)).isfinite().all()
