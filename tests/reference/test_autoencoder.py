"""The autoencoder against its definition, and linear against principal components."""

import math

import pytest
import torch
from parts import method_of, take_step, updating
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.batches import Images
from dlrun.data.info import DataInfo
from dlrun.evaluation.baselines import pca_squared_error
from dlrun.methods.autoencoder import Autoencoder

SHAPE = (1, 4, 4)


def autoencoder(
    code: int = 3, noise: float = 0.0, masked: float = 0.0, hidden: tuple[int, ...] = (8, 6)
) -> Autoencoder:
    made: Autoencoder = method_of(
        "method=autoencoder", "model=mlp_autoencoder", f"model.hidden={[*hidden]}",
        f"loss.sigma={1 / math.sqrt(2)}", f"method.code={code}", f"method.noise={noise}",
        f"method.masked={masked}", info=DataInfo(SHAPE),
    )  # fmt: skip
    return made


def test_a_step_is_the_squared_error_through_the_layers_one_by_one() -> None:
    method = autoencoder(noise=0.3, masked=0.25)
    x = torch.rand(5, *SHAPE)
    down = [m for m in method.encoder.modules() if isinstance(m, nn.Linear)]
    up = [m for m in method.decoder.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in down + up] == [8, 6, 3, 6, 8, 16]

    torch.manual_seed(1)
    damaged = (x + 0.3 * torch.randn_like(x)) * (torch.rand_like(x) >= 0.25)
    h = damaged.flatten(1)
    for layer in down[:-1]:
        h = F.relu(layer(h))
    h = down[-1](h)
    for layer in up[:-1]:
        h = F.relu(layer(h))
    squared = (up[-1](h) - x.flatten(1)).square().sum(1).mean()
    constant = 16 * math.log(math.sqrt(math.pi))

    torch.manual_seed(1)
    loss = take_step(method, updating(method), Images(x, torch.arange(5)))["loss"]
    torch.testing.assert_close(loss, (squared + constant).detach())


def test_without_damage_what_goes_in_is_the_image() -> None:
    x = torch.rand(3, *SHAPE)
    assert autoencoder().damaged(x) is x


def test_a_share_of_the_pixels_is_black_and_noise_has_its_deviation() -> None:
    torch.manual_seed(0)
    x = torch.full((500, *SHAPE), 0.5)
    assert (autoencoder(masked=0.3).damaged(x) == 0).float().mean().item() == pytest.approx(
        0.3, abs=0.02
    )
    assert autoencoder(noise=0.2).damaged(x).std().item() == pytest.approx(0.2, rel=0.03)


def test_a_linear_one_finds_the_principal_components() -> None:
    """Baldi and Hornik 1989: no other minimum; so PCA's error is the oracle."""
    torch.manual_seed(0)
    x = torch.randn(64, 16) @ (torch.randn(16, 16) * torch.linspace(1, 0.1, 16)[:, None]) * 0.1
    images = (x + 0.5).view(64, *SHAPE)
    method = autoencoder(hidden=())
    assert sum(isinstance(m, nn.ReLU) for m in method.modules()) == 0
    update = updating(method, torch.optim.Adam, lr=0.01)
    for _ in range(2000):
        take_step(method, update, Images(images, torch.arange(64)))
    with torch.no_grad():
        given_back: Tensor = method.decoder(method.encoder(images))
    error = float((given_back - images).square().flatten(1).sum(1).mean())
    flat = images.flatten(1)
    assert error == pytest.approx(pca_squared_error(flat, flat, 3), rel=0.02)


def test_pictures_come_through_the_code() -> None:
    method = autoencoder()
    x = torch.rand(5, *SHAPE)
    assert method.embed(x).shape == (5, 3)
    assert torch.equal(method.reconstruct(x), method.decode(method.embed(x)))
