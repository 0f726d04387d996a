"""The lecture notes' examples that are worked by hand, and where their arithmetic is right."""

import math

import pytest
import torch
from torch import nn

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
    give(network[1], [[0.4, -0.6], [0.7, 0.1]], [0.1, -0.2])
    give(output, [[0.9, -0.3]], [0.05])
    x = torch.tensor([0.5, 0.8]).view(1, 1, 1, 2)
    z1 = network[1](x.flatten(1))
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


def test_our_cnn_finds_the_same_map_after_relu() -> None:
    """Its 3 x 3 kernel holds K in the lower right corner; its padding makes the map 4 x 4."""
    config = CNN.Config(
        channels=((1,),), hidden=(), batch_norm=False, dropout=0.0, init_from=None, freeze=None
    )
    network = CNN(config, (1, 4, 4), 2)
    kernel = [[0.0, 0, 0], [0, *K[0]], [0, *K[1]]]
    give(network.features[0], [[kernel]], [0.0])
    z = network.features[:2](torch.tensor([[X]]))[0, 0, :3, :3]  # in front of the pooling
    assert z.tolist() == [[7, 9, 0], [13, 15, 1], [9, 11, 13]]
    # Of the map's nine values the notes print two right; the others follow from their own sums.
    by_hand = [
        [sum(X[i + m][j + n] * K[m][n] for m in (0, 1) for n in (0, 1)) for j in range(3)]
        for i in range(3)
    ]
    assert z.tolist() == torch.tensor(by_hand).relu().tolist()
