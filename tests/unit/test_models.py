"""Networks: shapes, parameter counts, receptive fields, and which images they refuse."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from parts import network_of
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.config.typed import Typed
from dlrun.errors import UserError
from dlrun.models.encoder import EncoderConfig
from dlrun.registry import lookup

Shape = tuple[int, int, int]


def mlp(shape: Shape, hidden: tuple[int, ...] = (8, 4), batch_norm: bool = False) -> Any:
    return shipped("mlp", shape, hidden=hidden, batch_norm=batch_norm)


def resnet(shape: Shape, depth: int = 8, width: int = 4, stem: int | None = None) -> Any:
    return shipped("resnet8", shape, depth=depth, width=width, stem=stem)


def cnn(shape: Shape, **changed: Any) -> Any:
    standard = {"channels": ((4, 6), (8,)), "hidden": (5,), "batch_norm": True, "dropout": 0.0}
    return shipped("cnn", shape, **(standard | changed))


def wide_resnet(shape: Shape, depth: int = 10, widen: int = 1, dropout: float = 0.0) -> Any:
    return shipped("wrn16_2", shape, depth=depth, widen=widen, dropout=dropout)


def vgg(shape: Shape) -> Any:
    return shipped("vgg8", shape, width=4)


def torchvision_model(shape: Shape, arch: str = "resnet18", stem: str = "auto") -> Any:
    return shipped("torchvision", shape, arch=arch, stem=stem)


def mlp_autoencoder(shape: Shape, hidden: tuple[int, ...] = (16,)) -> Any:
    return shipped("mlp_autoencoder", shape, hidden=hidden)


def conv_autoencoder(shape: Shape) -> Any:
    return shipped("conv_autoencoder", shape, width=4, hidden=16)


def generator(shape: Shape, width: int = 4, blocks: int = 1) -> Any:
    return shipped("resnet_generator", shape, width=width, blocks=blocks)


def patchgan(shape: Shape, width: int = 4, layers: int = 1) -> Any:
    return shipped("patchgan", shape, width=width, layers=layers)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def shipped(option: str, shape: Shape = (3, 32, 32), **changed: Any) -> Any:
    """The network of conf/model/`option`.yaml."""
    path = Path(str(files("dlrun.conf"))) / "model" / f"{option}.yaml"
    typed = Typed()
    plain: Any = OmegaConf.to_container(OmegaConf.load(path))
    choice = typed.choice("model", plain | changed, "model")
    assert typed.problems == []
    return network_of(choice, shape, 10)


def with_head(option: str, classes: int) -> int:
    """Parameters together with a linear layer to the classes, as published counts have it."""
    with torch.device("meta"):
        network = shipped(option)
    return parameters(network) + network.feature_dim * classes + classes


SIZES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (2, 32, 64)]


# --- shapes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("build", [mlp, cnn, resnet, wide_resnet, vgg])
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
@pytest.mark.parametrize("option", ["mlp_decoder", "conv_decoder"])
def test_decoders_give_an_image_for_a_code_of_the_width_that_they_name(
    option: str, shape: Shape
) -> None:
    network = shipped(option, shape, code=7)
    assert (network.kind, network.code_dim) == ("decoder", 7)
    code = torch.randn(3, network.code_dim, requires_grad=True)
    image = network(code)
    assert image.shape == (3, *shape)
    (gradient,) = torch.autograd.grad(image.square().sum(), code)
    assert gradient.abs().sum(1).min() > 0


@pytest.mark.parametrize("option", ["mlp", "conv"])
def test_a_decoder_is_the_second_half_of_an_autoencoder(option: str) -> None:
    decoder = shipped(f"{option}_decoder", (1, 28, 28), code=20)
    half = {"hidden": [256, 128]} if option == "mlp" else {}
    autoencoder = shipped(f"{option}_autoencoder", (1, 28, 28), **half)
    theirs = {name: value.shape for name, value in autoencoder.decoder(20).state_dict().items()}
    assert {n: v.shape for n, v in decoder.state_dict().items()} == theirs


@pytest.mark.parametrize("shape", SIZES)
def test_generators_give_images_in_the_symmetric_range(shape: Shape) -> None:
    y = generator(shape)(10 * torch.randn(2, *shape))
    assert y.shape == (2, *shape)
    assert y.abs().max() <= 1


@pytest.mark.parametrize(("size", "layers", "side"), [(28, 1, 12), (32, 2, 6), (64, 3, 6)])
def test_discriminators_give_a_map_of_scores(size: int, layers: int, side: int) -> None:
    network = patchgan((3, size, size), layers=layers)
    assert network(torch.randn(2, 3, size, size)).shape == (2, 1, side, side)
    assert isinstance(network[-1], nn.Conv2d)  # and no sigmoid behind it


def test_stages_of_a_resnet_halve_the_image_twice() -> None:
    network = resnet((3, 32, 32))
    x = network.stem(torch.randn(1, 3, 32, 32))
    shapes = [tuple(x.shape[1:])]
    for stage in (network.stage1, network.stage2, network.stage3):
        x = stage(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [(4, 32, 32), (4, 32, 32), (8, 16, 16), (16, 8, 8)]


# --- how many parameters -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("resnet8x4", 1_233_540),
        ("resnet20", 278_324),
        ("resnet32", 472_756),
        ("resnet44", 667_188),
        ("resnet56", 861_620),
        ("resnet110", 1_736_564),
        ("resnet32x4", 7_433_860),
        ("wrn16_2", 703_284),
        ("wrn40_2", 2_255_156),
        ("vgg8", 3_965_028),
        ("vgg13", 9_462_180),
    ],
)
def test_the_distillation_literatures_networks_for_100_classes(option: str, expected: int) -> None:
    """Tian, Krishnan and Isola 2020, arXiv 1910.10699: theirs to a parameter."""
    assert with_head(option, 100) == expected


def test_the_tutorials_teacher_and_student() -> None:
    assert with_head("tutorial_teacher", 10) == 1_186_986
    assert with_head("tutorial_student", 10) == 267_738


def test_torchvisions_resnet18_is_as_published_but_for_its_classifier() -> None:
    """11,689,512 with 1000 classes."""
    with torch.device("meta"):
        network = shipped("resnet18", (3, 64, 64))
    assert network.feature_dim == 512
    assert parameters(network) == 11_689_512 - 512 * 1000 - 1000


@pytest.mark.parametrize(("blocks", "expected"), [(9, 11_378_179), (6, 7_837_699)])
def test_the_papers_generator(blocks: int, expected: int) -> None:
    with torch.device("meta"):  # shapes without the arithmetic
        assert parameters(generator((3, 256, 256), width=64, blocks=blocks)) == expected


def test_the_papers_discriminator() -> None:
    with torch.device("meta"):
        network = patchgan((3, 256, 256), width=64, layers=3)
        assert parameters(network) == 2_764_737
        assert network(torch.empty(1, 3, 256, 256)).shape == (1, 1, 30, 30)


ENCODERS = [
    "cnn", "mlp", "resnet8", "resnet18", "resnet20", "resnet32", "resnet32x4", "resnet34",
    "resnet44", "resnet50", "resnet56", "resnet8x4", "resnet110", "torchvision", "tutorial_student",
    "tutorial_teacher", "vgg8", "vgg13", "wrn16_2", "wrn40_2",
]  # fmt: skip


@pytest.mark.parametrize("option", ENCODERS)
def test_every_shipped_encoder_takes_grey_and_colour_images(option: str) -> None:
    arch = {"arch": "mobilenet_v3_small"} if option == "torchvision" else {}
    for shape in ((1, 28, 28), (3, 64, 64)):
        with torch.device("meta"):
            network = shipped(option, shape, **arch)
            assert network(torch.empty(2, *shape)).shape == (2, network.feature_dim)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "wide_resnet", "vgg", "torchvision"])
def test_encoders_share_where_their_weights_come_from(name: str) -> None:
    assert issubclass(lookup("model", name).Config, EncoderConfig)
    assert lookup("model", name).kind == "encoder"


# --- what they compute ---------------------------------------------------------------------------


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field_of_the_discriminator(layers: int, field: int) -> None:
    """The pixels that one score's gradient reaches, without instance norm, which sees them all."""
    network = patchgan((1, 128, 128), layers=layers)
    for number, module in enumerate(network):
        if isinstance(module, nn.InstanceNorm2d):
            network[number] = nn.Identity()
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


@pytest.mark.parametrize("build", [resnet, wide_resnet, vgg])
def test_encoders_weights_keep_the_gradients_variance(build: Callable[[Shape], nn.Module]) -> None:
    """He et al. 2015, equation 14: variance 2 / (outgoing channels * 9)."""
    torch.manual_seed(0)
    for module in build((3, 32, 32)).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 4000:
            fan_out = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.06)
            assert module.bias is None or not module.bias.any()


def test_a_cnn_is_convolution_norm_relu_pooling() -> None:
    torch.manual_seed(0)
    network = cnn((1, 8, 8), channels=((2, 3), (4,)), hidden=(6, 5)).eval()
    first, second, third = (m for m in network.features if isinstance(m, nn.Conv2d))
    norms = [m for m in network.features if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
    x = torch.randn(3, 1, 8, 8)
    y = norms[0](F.conv2d(x, first.weight, padding=1)).relu()
    y = norms[1](F.conv2d(y, second.weight, padding=1)).relu()
    y = F.max_pool2d(y, 2)
    y = norms[2](F.conv2d(y, third.weight, padding=1)).relu()
    y = F.max_pool2d(y, 2)
    torch.testing.assert_close(network.features(x), y)
    assert y.shape == (3, 4, 2, 2)
    wide, narrow = network.hidden[0], network.hidden[2]
    y = narrow(wide(y.flatten(1)).relu()).relu()
    torch.testing.assert_close(network(x), y)


def test_a_cnns_convolutions_have_a_bias_where_no_norm_follows() -> None:
    for batch_norm in (False, True):
        convolutions = [
            m for m in cnn((1, 8, 8), batch_norm=batch_norm).features if isinstance(m, nn.Conv2d)
        ]
        assert len(convolutions) == 3
        assert all((m.bias is None) == batch_norm for m in convolutions)


def test_a_cnn_without_layers_behind_gives_its_map() -> None:
    network = cnn((1, 9, 13), channels=((2,), (7,)), hidden=())
    assert network.feature_dim == 7 * 2 * 3
    x = torch.randn(2, 1, 9, 13)
    assert torch.equal(network.eval()(x), network.features(x).flatten(1))


def test_dropout_stands_at_the_end_of_a_cnn_and_inside_a_wide_resnets_blocks() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 8, 8)
    network = cnn((1, 8, 8), hidden=(400,), dropout=0.5)
    with torch.no_grad():
        network.hidden[0].bias.fill_(5)  # type: ignore[union-attr]
    assert 0.4 < (network(x) == 0).float().mean() < 0.6
    assert (network.eval()(x) > 0).all()
    block = wide_resnet((1, 8, 8), dropout=1.0).stage1[0]
    y = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(y), y)  # everything beside the shortcut is gone
    assert not torch.equal(block.eval()(y), y)


def test_a_wide_block_norms_first_and_its_new_shortcut_starts_behind_the_norm() -> None:
    torch.manual_seed(0)
    block = wide_resnet((3, 8, 8), widen=2).stage1[0].eval()
    block.bn1.running_mean.uniform_(-1, 1)
    x = torch.randn(2, 16, 8, 8)
    y = block.bn1(x).relu()
    expected = F.conv2d(y, block.shortcut.weight) + F.conv2d(
        block.bn2(F.conv2d(y, block.conv1.weight, padding=1)).relu(), block.conv2.weight, padding=1
    )
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    ("size", "sides"),
    [(28, (14, 7, 3, 3, 3)), (32, (16, 8, 4, 4, 4)), (64, (32, 16, 8, 4, 4)), (8, (4, 2, 1, 1, 1))],
)
def test_vgg_pools_to_four_pixels_or_less(size: int, sides: tuple[int, ...]) -> None:
    network = vgg((3, size, size)).eval()
    x, seen = torch.randn(1, 3, size, size), []
    for stage in (network.stage1, network.stage2, network.stage3, network.stage4, network.stage5):
        x = stage(x)
        seen.append(x.shape[-1])
    assert tuple(seen) == sides


def test_a_stem_may_be_narrower_than_the_first_stage() -> None:
    network = resnet((3, 16, 16), width=8, stem=4)
    assert network.stem(torch.randn(1, 3, 16, 16)).shape == (1, 4, 16, 16)
    assert network.stage1[0].conv1.in_channels == 4
    assert isinstance(network.stage1[0].shortcut, nn.Sequential)  # 4 to 8 channels


@pytest.mark.parametrize("build", [cnn, resnet, wide_resnet, vgg, torchvision_model])
def test_encoders_in_channels_last_compute_the_same(build: Callable[[Shape], nn.Module]) -> None:
    torch.manual_seed(0)
    network, x = build((1, 16, 16)).eval(), torch.randn(2, 1, 16, 16)
    expected = network(x)
    network.to(memory_format=torch.channels_last)
    got = network(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_a_torchvision_network_is_torchvisions_up_to_its_classifier() -> None:
    from torchvision import models

    reference = models.resnet18(num_classes=7).eval()
    network = torchvision_model((3, 64, 64)).eval()
    state = {f"network.{name}": value for name, value in reference.state_dict().items()}
    told = network.load_state_dict(state, strict=False)
    assert told.missing_keys == []
    assert told.unexpected_keys == ["network.fc.weight", "network.fc.bias"]
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(reference.fc(network(x)), reference(x))


def test_a_torchvision_network_sees_grey_images_three_times() -> None:
    network = torchvision_model((1, 16, 16)).eval()
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(network(x), network.network(torch.cat([x, x, x], 1)))


@pytest.mark.parametrize(
    ("size", "stem", "stride", "side"),
    [
        (32, "auto", 1, 32), (63, "auto", 1, 63), (64, "auto", 2, 16),
        (32, "imagenet", 2, 8), (64, "small", 1, 64),
    ],
)  # fmt: skip
def test_the_stem_of_a_torchvision_resnet_fits_the_image(
    size: int, stem: str, stride: int, side: int
) -> None:
    with torch.device("meta"):
        network = torchvision_model((3, size, size), stem=stem).network
        assert network.conv1.stride == (stride, stride)
        assert network.conv1.kernel_size == ((7, 7) if stride == 2 else (3, 3))
        x = network.maxpool(network.conv1(torch.empty(1, 3, size, size)))
    assert x.shape == (1, 64, side, side)


def test_a_small_stems_weights_are_drawn_as_the_others_are() -> None:
    torch.manual_seed(0)
    network = torchvision_model((3, 32, 32)).network
    assert network.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.06)


@pytest.mark.parametrize("arch", ["googlenet", "vgg11_bn", "densenet121", "swin_t"])
def test_torchvisions_other_families_give_features_in_training_too(arch: str) -> None:
    with torch.device("meta"):
        network = torchvision_model((3, 64, 64), arch)
        assert network.training
        assert network(torch.empty(2, 3, 64, 64)).shape == (2, network.feature_dim)


def test_a_residual_block_adds_to_what_it_is_given() -> None:
    network = resnet((4, 8, 8), width=4)
    block = network.stage1[0]
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 4, 8, 8)
    assert torch.equal(block(x), x)  # not negative, so the ReLU behind the sum leaves it
    residual = generator((1, 16, 16))[10]
    for parameter in residual.parameters():
        nn.init.zeros_(parameter)
    y = torch.randn(2, 16, 4, 4)
    assert torch.equal(residual(y), y)


# --- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "plus", "depths"),
    [(resnet, 2, (1, 2, 7, 18, 21, 34)), (wide_resnet, 4, (1, 4, 9, 15, 18))],
)
def test_a_depth_that_makes_no_whole_blocks(
    build: Callable[..., Any], plus: int, depths: tuple[int, ...]
) -> None:
    for depth in depths:
        with pytest.raises(UserError, match=rf"model.depth: got {depth}, expected 6n \+ {plus}"):
            build((3, 32, 32), depth=depth)


def test_a_cnn_of_more_stages_than_the_image_can_be_halved() -> None:
    assert cnn((1, 4, 8), channels=((2,), (2,)))(torch.randn(2, 1, 4, 8)).shape == (2, 5)
    with pytest.raises(UserError, match=r"model.channels: 2 stages, .* leave nothing of 3 x 8"):
        cnn((1, 3, 8), channels=((2,), (2,)))


def test_vgg_of_too_small_an_image() -> None:
    with pytest.raises(UserError, match="model=vgg: images are 7 x 8, expected sides of 8"):
        vgg((1, 7, 8))


@pytest.mark.parametrize(
    ("channels", "arch", "stem", "message"),
    [
        (3, "resnet81", "auto", "no classification network 'resnet81'. Did you mean resnet"),
        (3, "fcn_resnet50", "auto", r"network 'fcn_resnet50'. Did you mean resnet50\?"),
        (3, "x", "auto", r"network 'x'; resnet18 and .* are two \(there are \d+: torchvision"),
        (3, "mobilenet_v2", "small", "model.stem: got small, but mobilenet_v2 has no first conv"),
        (3, "vit_b_32", "auto", r"vit_b_32 does not take images of 32 x 32 \(.*set dataset.size"),
        (3, "alexnet", "auto", r"alexnet does not take images of 32 x 32 \(.*set dataset.size"),
        (3, "squeezenet1_1", "auto", "squeezenet1_1 ends in no linear layer"),
        (2, "resnet18", "auto", "arch=resnet18: images have 2 channels, expected 1 or 3"),
    ],
)
def test_what_a_torchvision_network_cannot_be(
    channels: int, arch: str, stem: str, message: str
) -> None:
    with pytest.raises(UserError, match=message), torch.device("meta"):
        torchvision_model((channels, 32, 32), arch, stem)


@pytest.mark.parametrize(
    "build", [conv_autoencoder, generator, lambda shape: shipped("conv_decoder", shape)]
)
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
