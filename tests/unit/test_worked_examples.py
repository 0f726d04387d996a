"""The lecture notes' examples that are worked by hand, and where their arithmetic is right."""

import math

import pytest
import torch
from torch import Tensor, nn

from dlrun.models.cnn import CNN
from dlrun.models.mlp import MLP


def approx(values: object) -> object:
    """To float32's digits."""
    return pytest.approx(values, rel=1e-5, abs=1e-6)


def give(layer: nn.Module, weight: object, bias: object) -> None:
    """Weights and bias as they stand in the notes."""
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))


# --- 7.1: a multi-layer perceptron for two classes -----------------------------------------------


def test_the_perceptron_of_7_1_gives_0_495() -> None:
    """Every number that the notes print is right."""
    config = MLP.Config(hidden=(2,), batch_norm=False, init_from=None, freeze=None)
    network, output = MLP(config, (1, 1, 2), 2), nn.Linear(2, 1)
    give(network.layers[1], [[0.4, -0.6], [0.7, 0.1]], [0.1, -0.2])
    give(output, [[0.9, -0.3]], [0.05])
    x = torch.tensor([0.5, 0.8]).view(1, 1, 1, 2)
    z1 = network.layers[1](x.flatten(1))
    assert z1[0].tolist() == approx([-0.18, 0.23])
    h = network(x)
    assert h[0].tolist() == approx([0, 0.23])
    z2 = output(h)
    assert z2.item() == approx(-0.019)
    assert z2.sigmoid().item() == approx(1 / (1 + math.exp(0.019)))
    assert f"{z2.sigmoid().item():.3f}" == "0.495"


# --- 7.3.1: a convolutional network for two classes ----------------------------------------------

X: list[list[float]] = [[1.0, 2, 3, 0], [4, 5, 6, 1], [7, 8, 9, 2], [0, 1, 2, 3]]
K: list[list[float]] = [[1.0, 0], [-1, 2]]
RIGHT_MAP: list[list[float]] = [[7.0, 9, -1], [13, 15, 1], [9, 11, 13]]
NOTES_MAP: list[list[float]] = [[7.0, 9, 8], [10, 12, 11], [5, 6, 7]]
WEIGHT, BIAS = [[0.1, 0.2, -0.1, 0.05], [-0.3, 0.2, 0.4, 0.1]], [0.5, -0.5]


def feature_map() -> Tensor:
    """Y(i, j) = sum over m, n of X(i + m, j + n) K(m, n), without padding: (3, 3)."""
    convolution = nn.Conv2d(1, 1, 2)
    give(convolution, [[K]], [0.0])
    y: Tensor = convolution(torch.tensor([[X]]))[0, 0]
    return y


def pooled(y: Tensor) -> Tensor:
    """Windows of 2 x 2 that overlap, as the notes write them out: 3 x 3 to 2 x 2."""
    v: Tensor = nn.MaxPool2d(2, stride=1)(y[None, None])[0, 0]
    return v


def logits(flattened: Tensor) -> list[float]:
    """Of the fully connected layer with the notes' weights and biases."""
    layer = nn.Linear(4, 2)
    give(layer, WEIGHT, BIAS)
    z: list[float] = layer(flattened).tolist()
    return z


def test_the_feature_map_of_7_3_1_has_nine_values_of_which_the_notes_print_two() -> None:
    y = feature_map()
    assert y.tolist() == RIGHT_MAP
    by_hand = [
        [sum(X[i + m][j + n] * K[m][n] for m in (0, 1) for n in (0, 1)) for j in range(3)]
        for i in range(3)
    ]
    assert by_hand == RIGHT_MAP
    wrong = [(i, j) for i in range(3) for j in range(3) if NOTES_MAP[i][j] != RIGHT_MAP[i][j]]
    assert wrong == [(0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


def test_the_sums_that_the_notes_write_out_give_the_right_map_and_not_theirs() -> None:
    """Of the four sums under Y_conv, two are then printed as something else: 10 and 12."""
    written = {
        (0, 0): (1 * 1) + (2 * 0) + (4 * -1) + (5 * 2) + 0,
        (0, 1): (2 * 1) + (3 * 0) + (5 * -1) + (6 * 2) + 0,
        (1, 0): (4 * 1) + (5 * 0) + (7 * -1) + (8 * 2) + 0,
        (1, 1): (5 * 1) + (6 * 0) + (8 * -1) + (9 * 2) + 0,
    }
    assert written == {(i, j): RIGHT_MAP[i][j] for i, j in written}
    printed = {(i, j): NOTES_MAP[i][j] for i, j in written}
    assert [place for place in written if written[place] != printed[place]] == [(1, 0), (1, 1)]
    assert (printed[1, 0], printed[1, 1]) == (10, 12)


def test_our_cnn_finds_the_same_map_after_relu() -> None:
    """Its 3 x 3 kernel holds K in the lower right corner; its padding makes the map 4 x 4."""
    config = CNN.Config(
        channels=((1,),), hidden=(), batch_norm=False, dropout=0.0, init_from=None, freeze=None
    )
    network = CNN(config, (1, 4, 4), 2)
    kernel = [[0.0, 0, 0], [0, *K[0]], [0, *K[1]]]
    give(network.features[0], [[kernel]], [0.0])
    z = network.features[:2](torch.tensor([[X]]))[0, 0, :3, :3]  # in front of the pooling
    assert z.tolist() == feature_map().relu().tolist() == [[7, 9, 0], [13, 15, 1], [9, 11, 13]]


def test_what_really_follows_in_7_3_1() -> None:
    """Every window holds the 15, so the logits are 4.25 and 5.5, and class 2 has 0.78, not 0.69."""
    v = pooled(feature_map().relu())
    assert v.tolist() == [[15, 15], [15, 15]]
    flattened = v.flatten()
    assert flattened.tolist() == [15, 15, 15, 15]
    z = logits(flattened)
    assert z == approx([15 * 0.25 + 0.5, 15 * 0.4 - 0.5])
    assert z == approx([4.25, 5.5])
    p = torch.tensor(z).softmax(0).tolist()
    assert p == approx([1 / (1 + math.exp(1.25)), 1 / (1 + math.exp(-1.25))])
    assert p == pytest.approx([0.2227, 0.7773], abs=5e-5)


def test_what_the_notes_print_follows_from_their_map_alone() -> None:
    """From their map on every step is right, but for e^4.3, which is 73.7 and not 73.4."""
    z_map = torch.tensor(NOTES_MAP)
    assert torch.equal(z_map.relu(), z_map)
    v = pooled(z_map)
    assert v.tolist() == [[12, 12], [12, 12]]
    z = logits(v.flatten())
    assert z == approx([3.5, 4.3])
    assert approx(3.5) == (0.1 * 12) + (0.2 * 12) + (-0.1 * 12) + (0.05 * 12) + 0.5
    assert approx(4.3) == (-0.3 * 12) + (0.2 * 12) + (0.4 * 12) + (0.1 * 12) - 0.5
    p = torch.tensor(z).softmax(0).tolist()
    assert [round(value, 2) for value in p] == [0.31, 0.69]
    assert round(math.exp(3.5), 1) == 33.1
    assert round(math.exp(4.3), 1) == 73.7
    # The slip is too small to show.
    assert [round(part / (33.1 + 73.4), 2) for part in (33.1, 73.4)] == [0.31, 0.69]


def test_both_maps_choose_the_second_class() -> None:
    for values in (RIGHT_MAP, NOTES_MAP):
        z = logits(pooled(torch.tensor(values).relu()).flatten())
        assert z[1] > z[0]


# --- 7.3: the sizes that are given in passing ----------------------------------------------------


def test_a_2_by_2_filter_leaves_63_of_64_pixels() -> None:
    assert nn.Conv2d(1, 1, 2)(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 63, 63)


def test_32_filters_of_3_by_3_over_3_channels_have_864_weights_and_32_biases() -> None:
    layer = nn.Conv2d(3, 32, 3)
    assert layer.bias is not None
    assert (layer.weight.numel(), layer.bias.numel()) == (864, 32)
