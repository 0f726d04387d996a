"""The VAE against the lecture notes' network and loss (section 7.4.2); its bound against theory."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from dlrun.data.views import HeldOut, Images
from dlrun.losses.divergence import gaussian_kl
from dlrun.methods.base import Builder
from dlrun.methods.trained import Facts
from dlrun.methods.vae import VAE
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.training.hardware import Hardware
from dlrun.training.update import Update

CPU = Hardware(
    device=torch.device("cpu"), precision="fp32", memory_format=torch.contiguous_format,
    threads=1, compile=False, deterministic=False, anomaly=False, line="",
)  # fmt: skip
SHAPE, BETA = (1, 28, 28), 0.7


def vae(
    loss: str = "bce", latent: int = 20, shape: tuple[int, int, int] = SHAPE, beta: float = BETA,
    binarize: str = "none", sigma: float = 1 / math.sqrt(2), logvar_limit: float = 10.0,
) -> VAE:  # fmt: skip
    torch.manual_seed(0)
    options = {"sigma": sigma} if loss == "mse" else {}
    build = Builder(
        Choice("mlp_autoencoder", lookup("model", "mlp_autoencoder").Config(hidden=128)),
        Choice(loss, lookup("loss", loss).Config(**options)),
        Facts(shape, tuple("0123456789")),
    )
    config = VAE.Config(
        latent=latent, beta=beta, binarize=binarize,  # type: ignore[arg-type]
        logvar_limit=logvar_limit,
    )  # fmt: skip
    return VAE(config, build)


class SeedVAE(nn.Module):
    """The notes' class, with the weights of ours."""

    def __init__(self, method: VAE, sigmoid: bool) -> None:
        super().__init__()
        first, middle = method.encoder[1], method.decoder[0]
        assert (first.in_features, first.out_features) == (784, 128)
        assert (middle.in_features, middle.out_features) == (20, 128)
        self.encoder = nn.Sequential(copy.deepcopy(first), nn.ReLU())
        self.fc_mu = copy.deepcopy(method.fc_mu)
        self.fc_logvar = copy.deepcopy(method.fc_logvar)
        self.decoder = nn.Sequential(
            copy.deepcopy(middle),
            nn.ReLU(),
            copy.deepcopy(method.decoder[2]),
            nn.Sigmoid() if sigmoid else nn.Identity(),
        )

    def reparameterize(self, mu: Tensor, logvar: Tensor) -> Tensor:
        std = torch.exp(0.5 * logvar)
        eps = torch.randn_like(std)
        return mu + eps * std

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = self.reparameterize(mu, logvar)
        x_reconstructed = self.decoder(z)
        return x_reconstructed, mu, logvar


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_steps_are_the_seeds(loss: str) -> None:
    """`loss=mse sigma=1/sqrt(2)` is the notes' squared error; `bce` is its sigmoid decoder."""
    method = vae(loss)
    update = Update(
        {"main": torch.optim.Adam(method.parameters(), lr=1e-3)}, CPU, lambda step: 1.0, 4
    )
    seed = SeedVAE(method, sigmoid=loss == "bce")
    optimizer = torch.optim.Adam(seed.parameters(), lr=1e-3)
    # The density's constant, which the bare squared error leaves out.
    constant = 784 * math.log(math.sqrt(math.pi)) if loss == "mse" else 0.0

    for step in range(4):
        x = torch.rand(8, *SHAPE)
        torch.manual_seed(step)
        update.begin(step)
        metrics = method.step(Images(x, torch.arange(8)), update)
        update.finish()

        torch.manual_seed(step)
        x = x.flatten(1)
        x_reconstructed, mu, logvar = seed(x)
        if loss == "mse":
            reconstruction = (x - x_reconstructed).square().sum(1)
        else:
            reconstruction = F.binary_cross_entropy(x_reconstructed, x, reduction="none").sum(1)
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1)
        seed_loss = (reconstruction + BETA * kl).mean()
        optimizer.zero_grad()
        seed_loss.backward()
        optimizer.step()

        torch.testing.assert_close(metrics["loss"], seed_loss + constant, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(metrics["kl"], kl.mean(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            metrics["reconstruction"], reconstruction.mean() + constant, rtol=1e-5, atol=1e-4
        )
        pairs = [
            (method.encoder[1], seed.encoder[0]), (method.fc_mu, seed.fc_mu),
            (method.fc_logvar, seed.fc_logvar), (method.decoder[0], seed.decoder[0]),
            (method.decoder[2], seed.decoder[2]),
        ]  # fmt: skip
        for ours, theirs in pairs:
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                torch.testing.assert_close(p, q, rtol=0, atol=2e-6)


# --- the KL term ---------------------------------------------------------------------------------

row = st.lists(st.tuples(st.floats(-5, 5), st.floats(-8, 6)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(row)
def test_kl_is_that_of_torchs_distributions(pairs: list[tuple[float, float]]) -> None:
    mu, logvar = torch.tensor(pairs, dtype=torch.float64).T[:, None]
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    expected = torch.distributions.kl_divergence(q, p).sum(1)
    torch.testing.assert_close(gaussian_kl(mu, logvar), expected)
    assert (gaussian_kl(mu, logvar) >= -1e-9).all()


def test_kl_of_the_prior_is_zero_and_of_a_shift_half_its_square() -> None:
    assert gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0, 0]
    assert gaussian_kl(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)).tolist() == [12.5]


def test_reparameterize_draws_from_q() -> None:
    torch.manual_seed(0)
    mu, logvar = torch.tensor([1.0, -2.0]), torch.tensor([math.log(4), math.log(0.25)])
    z = vae(latent=2).reparameterize(mu.expand(40_000, 2), logvar.expand(40_000, 2))
    assert z.mean(0).tolist() == pytest.approx([1, -2], abs=0.05)
    assert z.std(0).tolist() == pytest.approx([2, 0.5], rel=0.02)


def test_the_log_variance_is_clamped() -> None:
    method = vae(latent=2, logvar_limit=3.0)
    nn.init.zeros_(method.fc_logvar.weight)
    method.fc_logvar.bias.data = torch.tensor([50.0, -50.0])
    logvar = method.encode(torch.rand(4, *SHAPE))[1]
    assert torch.equal(logvar, torch.tensor([3.0, -3.0]).expand(4, 2))
    method.fc_logvar.bias.data = torch.tensor([2.0, -2.0])
    assert torch.equal(method.encode(torch.rand(4, *SHAPE))[1][0], torch.tensor([2.0, -2.0]))


# --- the bound -----------------------------------------------------------------------------------

SIGMA, PIXELS = 0.5, (1, 2, 2)


def linear_vae(posterior_shift: float = 0.0) -> tuple[VAE, torch.distributions.Distribution]:
    """A linear decoder with orthogonal columns, whose exact posterior is the encoder's q, or not.

    With x = W z + b + noise, p(x) = N(b, W W^T + sigma^2) and p(z|x) is Gaussian with the diagonal
    precision 1 + |w_d|^2 / sigma^2: probabilistic PCA.
    """
    method = vae("mse", latent=2, shape=PIXELS, sigma=SIGMA)
    w = torch.tensor([[1.0, 0.5], [1.0, -0.5], [0.0, 0.0], [1.0, 0.0]])
    w[3, 1] = 0.0
    b = torch.tensor([0.1, 0.2, 0.3, 0.4])
    precision = 1 + w.square().sum(0) / SIGMA**2
    assert (w[:, 0] @ w[:, 1]).item() == 0
    method.encoder = nn.Flatten()
    method.fc_mu, method.fc_logvar = nn.Linear(4, 2), nn.Linear(4, 2)
    method.decoder = nn.Sequential(nn.Linear(2, 4), nn.Unflatten(1, PIXELS))
    posterior = w.T / SIGMA**2 / precision[:, None]
    with torch.no_grad():
        method.fc_mu.weight.copy_(posterior)
        method.fc_mu.bias.copy_(posterior_shift - posterior @ b)
        method.fc_logvar.weight.zero_()
        method.fc_logvar.bias.copy_(-precision.log())
        method.decoder[0].weight.copy_(w)
        method.decoder[0].bias.copy_(b)
    evidence = torch.distributions.MultivariateNormal(b, w @ w.T + SIGMA**2 * torch.eye(4))
    return method, evidence


@torch.no_grad()
def negative_elbo(method: VAE, x: Tensor, draws: int = 40_000) -> float:
    reconstruction, kl = method.bound(x.expand(draws, *PIXELS))
    return float((reconstruction + kl).double().mean())


def test_with_the_exact_posterior_the_bound_is_the_log_likelihood() -> None:
    """The oracle: the pieces and their constants, all at once."""
    method, evidence = linear_vae()
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(PIXELS)
        expected = -float(evidence.log_prob(x.flatten()))
        assert negative_elbo(method, x) == pytest.approx(expected, abs=0.03)


def test_with_another_posterior_it_lies_above_by_the_divergence_of_the_two() -> None:
    method, evidence = linear_vae(posterior_shift=0.4)
    torch.manual_seed(0)
    x = torch.randn(PIXELS)
    variance = method.fc_logvar.bias.detach().exp()
    divergence = float((0.4**2 / variance).sum() / 2)
    expected = -float(evidence.log_prob(x.flatten())) + divergence
    assert negative_elbo(method, x) == pytest.approx(expected, abs=0.05)
    assert divergence > 0.3


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_kl_in_training_and_never_in_validation(beta: float) -> None:
    method = vae(beta=beta)
    x = torch.rand(8, *SHAPE)
    torch.manual_seed(1)
    reconstruction, kl = method.bound(x)
    torch.manual_seed(1)
    validated = method.validate(HeldOut(x))
    assert torch.equal(validated["negative_elbo"], reconstruction + kl)
    assert torch.equal(validated["kl"], kl)
    update = Update({"main": torch.optim.SGD(method.parameters(), lr=0.0)}, CPU, lambda _: 1.0, 1)
    torch.manual_seed(1)
    metrics = method.step(Images(x, torch.arange(8)), update)
    torch.testing.assert_close(metrics["loss"], (reconstruction + beta * kl).mean())


def test_binarized_pixels_are_black_or_white_and_grey_on_average() -> None:
    grey = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 1, 4).expand(20_000, 1, 1, 4)
    method = vae(binarize="random")
    torch.manual_seed(0)
    drawn = method.binarized(grey)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean(0).flatten().tolist() == pytest.approx([0, 0.25, 0.5, 1], abs=0.015)
    assert vae().binarized(grey) is grey


def test_a_binarized_vae_is_trained_and_validated_on_black_and_white() -> None:
    method = vae(binarize="random")
    x = torch.full((4, *SHAPE), 0.5)
    seen: list[Tensor] = []
    method.loss.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    update = Update({"main": torch.optim.SGD(method.parameters(), lr=0.0)}, CPU, lambda _: 1.0, 1)
    method.step(Images(x, torch.arange(4)), update)
    method.validate(HeldOut(x))
    assert [set(image.unique().tolist()) for image in seen] == [{0.0, 1.0}] * 2


def test_what_it_gives_back_is_the_decoders_mean_of_the_codes_mean() -> None:
    method = vae()
    x = torch.rand(3, *SHAPE)
    mu = method.encode(x)[0]
    assert torch.equal(method.embed(x), mu)
    assert torch.equal(method.reconstruct(x), torch.sigmoid(method.decoder(mu)))
    torch.manual_seed(0)
    z = torch.randn(5, 20)
    torch.manual_seed(0)
    assert torch.equal(method.sample(5), torch.sigmoid(method.decoder(z)))
