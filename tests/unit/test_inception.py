"""Inception from a file: both layouts against other code, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.errors import UserError
from dlrun.evaluation.extractor import Inception, inception

State = dict[str, Tensor]


def drawn(outputs: int) -> State:
    """Weights of torchvision's network of so many outputs, under which features stay alive."""
    from torchvision.models import inception_v3

    chance = torch.Generator().manual_seed(outputs)
    network = inception_v3(
        weights=None, num_classes=outputs, aux_logits=False, init_weights=False
    ).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                spread = (2 / module.weight[0].numel()) ** 0.5
                module.weight.normal_(0, spread, generator=chance)
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.8, 1.2, generator=chance)
                module.bias.uniform_(-0.1, 0.3, generator=chance)
    return network.state_dict()


@pytest.fixture(scope="module")
def of_fid() -> State:
    return drawn(1008)


@pytest.fixture(scope="module")
def of_torchvision() -> State:
    return drawn(1000)


@pytest.fixture
def images() -> Tensor:
    """In [0, 1], which both layouts make larger."""
    return torch.rand(1, 3, 40, 31, generator=torch.Generator().manual_seed(1))


# --- torchvision's layout ------------------------------------------------------------------------


def test_torchvision_s_features_are_those_of_its_own_forward(
    of_torchvision: State, images: Tensor
) -> None:
    """Normalised by ImageNet's mean and deviation, as its weights want their images."""
    from torchvision.models import inception_v3
    from torchvision.transforms.v2 import functional as T

    network: Any = inception_v3(
        weights=None, aux_logits=False, init_weights=False, transform_input=True
    ).eval()
    network.load_state_dict(of_torchvision)
    features: list[Tensor] = []
    network.fc.register_forward_pre_hook(lambda module, given: features.append(given[0]))
    with torch.no_grad():
        resized = T.resize(images, [299, 299], antialias=True)
        network(T.normalize(resized, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        more = {"AuxLogits.fc.weight": torch.ones(1000, 768)}  # left out
        own, layout = inception(of_torchvision | more, "it")
        found = own.eval()(images)
    assert layout.name == "inception-torchvision"
    assert found.shape == (1, 2048)
    assert found.std() > 0.01  # the weights were drawn so that there is something to compare
    torch.testing.assert_close(found, features[0], rtol=1e-4, atol=1e-5)


# --- the FID's layout ----------------------------------------------------------------------------


def conv(state: State, name: str, x: Tensor, stride: int = 1, padding: Any = 0) -> Tensor:
    """Convolution, batch norm with eps 0.001, ReLU, from the tensors alone."""
    x = F.conv2d(x, state[f"{name}.conv.weight"], stride=stride, padding=padding)
    scale, shift = state[f"{name}.bn.weight"], state[f"{name}.bn.bias"]
    mean, variance = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
    return F.relu(F.batch_norm(x, mean, variance, scale, shift, training=False, eps=0.001))


def mean_of_the_inside(x: Tensor) -> Tensor:
    """3 x 3 averages over the pixels that there are: sums divided by how many were summed."""
    window = torch.ones(1, 1, 3, 3)
    flat = x.flatten(0, 1)[:, None]
    sums = F.conv2d(flat, window, padding=1)
    return (sums / F.conv2d(torch.ones_like(flat), window, padding=1)).view_as(x)


def highest(x: Tensor) -> Tensor:
    padded = F.pad(x, (1, 1, 1, 1), value=-torch.inf)
    return padded.unfold(2, 3, 1).unfold(3, 3, 1).amax((4, 5))


def literal_fid_features(state: State, x: Tensor) -> Tensor:
    """The graph of 2015-12-05 block by block: Szegedy et al. 2016, figures 5 to 7 and 10."""

    def c(name: str, x: Tensor, stride: int = 1, padding: Any = 0) -> Tensor:
        return conv(state, name, x, stride, padding)

    def five(b: str, x: Tensor) -> Tensor:
        double = c(f"{b}.branch3x3dbl_2", c(f"{b}.branch3x3dbl_1", x), padding=1)
        return torch.cat(
            [
                c(f"{b}.branch1x1", x),
                c(f"{b}.branch5x5_2", c(f"{b}.branch5x5_1", x), padding=2),
                c(f"{b}.branch3x3dbl_3", double, padding=1),
                c(f"{b}.branch_pool", mean_of_the_inside(x)),
            ],
            1,
        )

    def seven(b: str, x: Tensor) -> Tensor:
        wide, high = (0, 3), (3, 0)
        once, twice = c(f"{b}.branch7x7_1", x), c(f"{b}.branch7x7dbl_1", x)
        for number, padding in ((2, wide), (3, high)):
            once = c(f"{b}.branch7x7_{number}", once, padding=padding)
        for number, padding in ((2, high), (3, wide), (4, high), (5, wide)):
            twice = c(f"{b}.branch7x7dbl_{number}", twice, padding=padding)
        pooled = c(f"{b}.branch_pool", mean_of_the_inside(x))
        return torch.cat([c(f"{b}.branch1x1", x), once, twice, pooled], 1)

    def three(b: str, x: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
        once = c(f"{b}.branch3x3_1", x)
        twice = c(f"{b}.branch3x3dbl_2", c(f"{b}.branch3x3dbl_1", x), padding=1)
        parts = [c(f"{b}.branch1x1", x)]
        for stem, part in (("branch3x3_2", once), ("branch3x3dbl_3", twice)):
            parts.append(c(f"{b}.{stem}a", part, padding=(0, 1)))
            parts.append(c(f"{b}.{stem}b", part, padding=(1, 0)))
        return torch.cat([*parts, c(f"{b}.branch_pool", pool(x))], 1)

    x = c("Conv2d_2a_3x3", c("Conv2d_1a_3x3", x, stride=2))
    x = F.max_pool2d(c("Conv2d_2b_3x3", x, padding=1), 3, 2)
    x = F.max_pool2d(c("Conv2d_4a_3x3", c("Conv2d_3b_1x1", x)), 3, 2)
    for block in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = five(block, x)
    b, down = "Mixed_6a", F.max_pool2d(x, 3, 2)
    double = c(f"{b}.branch3x3dbl_2", c(f"{b}.branch3x3dbl_1", x), padding=1)
    double = c(f"{b}.branch3x3dbl_3", double, stride=2)
    x = torch.cat([c(f"{b}.branch3x3", x, stride=2), double, down], 1)
    for block in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = seven(block, x)
    b, down = "Mixed_7a", F.max_pool2d(x, 3, 2)
    once = c(f"{b}.branch3x3_2", c(f"{b}.branch3x3_1", x), stride=2)
    across = c(f"{b}.branch7x7x3_2", c(f"{b}.branch7x7x3_1", x), padding=(0, 3))
    across = c(f"{b}.branch7x7x3_3", across, padding=(3, 0))
    x = torch.cat([once, c(f"{b}.branch7x7x3_4", across, stride=2), down], 1)
    x = three("Mixed_7b", x, mean_of_the_inside)
    return three("Mixed_7c", x, highest).mean((2, 3))


def test_the_fid_s_features_are_those_of_its_graph_written_out(
    of_fid: State, images: Tensor
) -> None:
    network, layout = inception(of_fid, "it")
    plain = {n: t[:1000] if n.startswith("fc.") else t for n, t in of_fid.items()}
    with torch.no_grad():
        resized = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
        expected = literal_fid_features(of_fid, 2 * resized - 1)
        found, other = network.eval()(images), inception(plain, "it")[0].eval()(images)
    assert layout.name == "inception-2015"
    assert found.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # The two networks pool in different ways, else this would prove nothing about it.
    assert (found - other).abs().mean() > 0.05 * found.abs().mean()


def test_the_fid_s_features_are_torch_fidelity_s(of_fid: State, tmp_path: Path) -> None:
    """Its own resizing is TensorFlow 1's and its bytes end at 127/128, so the network is compared
    behind both: images of the network's own size, scaled as there."""
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    torch.save(of_fid, tmp_path / "file.pth")
    peer = fidelity.FeatureExtractorInceptionV3("it", ["2048"], str(tmp_path / "file.pth"))
    chance = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (1, 3, 299, 299), generator=chance).byte()
    with torch.no_grad():
        found = inception(of_fid, "it")[0].eval().network((images.float() - 128) / 128)
        expected = peer(images)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# --- either --------------------------------------------------------------------------------------


def test_grey_images_are_seen_three_times(images: Tensor) -> None:
    seen = Inception(nn.Identity(), antialias=True)(images[:, :1])
    assert seen.shape == (1, 3, 299, 299)
    assert torch.equal(seen[:, 0], seen[:, 1]) and torch.equal(seen[:, 0], seen[:, 2])


def test_files_that_do_not_count_batches_are_whole(of_fid: State) -> None:
    old = {name: t for name, t in of_fid.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(of_fid)
    inception(old, "it")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda s: {"a": torch.ones(2)}, "not an Inception v3; expected"),
        (lambda s: s | {"fc.weight": torch.ones(10, 2048)}, "(its last layer fc has 10 outputs)"),
        (lambda s: s | {"more": torch.ones(1)}, "(the tensor more is missing, unexpected or"),
        (lambda s: {n: t for n, t in s.items() if n != "Mixed_7c.branch1x1.conv.weight"},
         "(the tensor Mixed_7c.branch1x1.conv.weight is missing, unexpected or"),
        (lambda s: s | {"Conv2d_1a_3x3.bn.bias": torch.ones(3)},
         "(the tensor Conv2d_1a_3x3.bn.bias is missing, unexpected or of another shape)"),
    ],
)  # fmt: skip
def test_another_network_is_refused(
    of_fid: State, change: Callable[[State], State], why: str
) -> None:
    with pytest.raises(UserError) as refused:
        inception(change(of_fid), "--features x.pth")
    assert str(refused.value).startswith("--features x.pth: not an Inception v3")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
