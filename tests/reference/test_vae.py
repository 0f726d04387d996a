"""The VAE against the lecture notes' network and loss (section 7.4.2); its bound against theory."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import CPU, method_of, take_step, updating
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from dlrun.data.batches import EvalBatch, Images
from dlrun.data.info import DataInfo
from dlrun.losses.reconstruction import binarize, gaussian_kl
from dlrun.methods.vae import VAE
from dlrun.training.update import Update

SHAPE, BETA = (1, 28, 28), 0.7
REPORTS: list[list[str]] = []
"""What the last one told."""


def vae(
    loss: str = "bce", latent: int = 20, shape: tuple[int, int, int] = SHAPE, beta: float = BETA,
    sigma: float = 1 / math.sqrt(2), learned: bool = False, hidden: tuple[int, ...] = (128,),
    **changes: Any,
) -> VAE:  # fmt: skip
    options = {"latent": latent, "beta": beta, "likelihood_draws": 5} | changes
    of_loss = (f"loss.sigma={sigma}", f"loss.learned={learned}") if loss == "mse" else ()
    REPORTS.append([])
    method: VAE = method_of(
        "method=vae", "model=mlp_autoencoder", f"model.hidden={[*hidden]}", f"loss={loss}",
        *of_loss, *(f"method.{name}={value}" for name, value in options.items()),
        info=DataInfo(shape, tuple("0123456789")), report=REPORTS[-1],
    )  # fmt: skip
    return method


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
    update = updating(method, torch.optim.Adam, lr=1e-3)
    seed = SeedVAE(method, sigmoid=loss == "bce")
    optimizer = torch.optim.Adam(seed.parameters(), lr=1e-3)
    # The density's constant, which the bare squared error leaves out.
    constant = 784 * math.log(math.sqrt(math.pi)) if loss == "mse" else 0.0

    for step in range(4):
        x = torch.rand(8, *SHAPE)
        torch.manual_seed(step)
        metrics = take_step(method, update, Images(x, torch.arange(8)), step)

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

        expected = {
            "loss": seed_loss + constant, "kl": kl.mean(),
            "reconstruction": reconstruction.mean() + constant,
        }  # fmt: skip
        assert_close(metrics, expected, rtol=1e-5, atol=1e-4)
        pairs = [
            (method.encoder[1], seed.encoder[0]), (method.fc_mu, seed.fc_mu),
            (method.fc_logvar, seed.fc_logvar), (method.decoder[0], seed.decoder[0]),
            (method.decoder[2], seed.decoder[2]),
        ]  # fmt: skip
        for ours, theirs in pairs:
            for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
                assert_close(p, q, rtol=0, atol=2e-6)


# --- the KL term ---------------------------------------------------------------------------------

row = st.lists(st.tuples(st.floats(-5, 5), st.floats(-8, 6)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(row)
def test_kl_is_that_of_torchs_distributions(pairs: list[tuple[float, float]]) -> None:
    mu, logvar = torch.tensor(pairs, dtype=torch.float64).T[:, None]
    q = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    expected = torch.distributions.kl_divergence(q, p).sum(1)
    assert_close(gaussian_kl(mu, logvar), expected)
    assert (gaussian_kl(mu, logvar) >= -1e-9).all()


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
    validated = method.validate(EvalBatch(x))
    assert torch.equal(validated["negative_elbo"], reconstruction + kl)
    assert torch.equal(validated["kl"], kl)
    torch.manual_seed(1)
    metrics = method.step(Images(x, torch.arange(8)), updating(method))
    assert_close(metrics["loss"], (reconstruction + beta * kl).mean())


def test_binarized_pixels_are_black_or_white_and_grey_on_average() -> None:
    grey = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 1, 4).expand(20_000, 1, 1, 4)
    method = vae(binarize="random")
    torch.manual_seed(0)
    drawn = method.target(grey)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean(0).flatten().tolist() == pytest.approx([0, 0.25, 0.5, 1], abs=0.015)
    assert not torch.equal(method.target(grey), drawn)
    assert vae().target(grey) is grey


def test_held_out_images_are_always_the_one_draw() -> None:
    x = torch.rand(6, *SHAPE)
    for how in ("static", "random"):
        assert torch.equal(vae(binarize=how).target(x, training=False), binarize(x))
    assert torch.equal(vae(binarize="static").target(x), binarize(x))
    assert vae().target(x, training=False) is x


def test_a_binarized_vae_is_trained_and_validated_on_black_and_white() -> None:
    method = vae(binarize="random")
    x = torch.full((4, *SHAPE), 0.5)
    seen: list[Tensor] = []
    method.loss.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    method.step(Images(x, torch.arange(4)), updating(method))
    method.validate(EvalBatch(x))
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


# --- what changes the objective ------------------------------------------------------------------


def objective(method: VAE, x: Tensor, progress: float = 1.0) -> dict[str, float]:
    """The metrics of a step that changes nothing, at a share of the run."""
    torch.manual_seed(1)
    update = updating(method, total=100)
    metrics = take_step(method, update, Images(x, torch.arange(len(x))), round(progress * 100))
    return {name: value.item() for name, value in metrics.items()}


def test_beta_rises_along_a_line_over_the_warm_up() -> None:
    x = torch.rand(8, *SHAPE)
    method = vae(beta=2.0, warmup=0.4)
    for progress, beta in ((0.0, 0.0), (0.1, 0.5), (0.2, 1.0), (0.4, 2.0), (0.9, 2.0)):
        found = objective(method, x, progress)
        expected = found["reconstruction"] + beta * found["kl"]
        assert found["loss"] == pytest.approx(expected, rel=1e-6)
    assert vae(beta=2.0).beta(0.0) == 2.0


def test_a_number_below_the_free_bits_is_not_charged_and_has_no_gradient() -> None:
    """The average over the batch is what is compared, so one image may be far above it."""
    method = vae(latent=3, beta=1.0, free_bits=0.5)
    nn.init.zeros_(method.fc_mu.weight)
    nn.init.zeros_(method.fc_logvar.weight)
    nn.init.zeros_(method.fc_logvar.bias)
    method.fc_mu.bias.data = torch.tensor([0.1, 2.0, 0.0])  # KL .005, 2 and 0
    x = torch.rand(8, *SHAPE)
    found = objective(method, x)
    assert found["kl"] == pytest.approx(2.005, rel=1e-5)
    assert found["loss"] == pytest.approx(found["reconstruction"] + 0.5 + 2.0 + 0.5, rel=1e-6)

    mu, logvar = torch.zeros(4, 1, requires_grad=True), torch.zeros(4, 1)
    method = vae(latent=1, beta=1.0, free_bits=0.5, hidden=())
    method.encode = lambda _: (mu + torch.tensor([[1.7], [0], [0], [0]]), logvar)  # type: ignore[method-assign]
    method.loss.forward = lambda output, image: torch.zeros(4)
    update = Update({"main": torch.optim.SGD([mu], lr=0.0)}, CPU, lambda _: 1.0, 1)
    update.begin(0)
    method.step(Images(x[:4], torch.arange(4)), update)
    assert mu.grad is None or not mu.grad.any()  # 1.7^2 / 2 / 4 = .36 of the batch, below .5


def test_a_mean_over_pixels_is_told_as_the_beta_that_it_is() -> None:
    x = torch.rand(8, *SHAPE)
    found = objective(vae("mse", beta=0.001, reduction="mean"), x)
    expected = found["reconstruction"] / 784 + 0.001 * found["kl"]
    assert found["loss"] == pytest.approx(expected, rel=1e-6)
    assert REPORTS[-1] == [
        "method.beta=0.001 with a mean over 784 pixels is beta 0.784 with their sum, as papers "
        "state it"
    ]


@pytest.mark.parametrize(
    ("loss", "binarize", "draws"),
    [("bce", "none", 0), ("bce", "static", 5), ("bce", "random", 5), ("mse", "none", 5)],
)
def test_grey_cross_entropy_is_called_a_pseudo_likelihood(
    loss: str, binarize: str, draws: int
) -> None:
    assert vae(loss, binarize=binarize).likelihood_draws == draws
    assert ("pseudo-likelihood" in " ".join(REPORTS[-1])) == (draws == 0)


def test_a_learned_variance_settles_at_the_mean_squared_error() -> None:
    method = vae("mse", sigma=1.0, learned=True, beta=0.0)
    assert "loss.log_sigma" in method.state_dict()
    assert "loss.log_sigma" not in vae("mse").state_dict()
    output, image = torch.zeros(4, *SHAPE), torch.full((4, *SHAPE), 0.3)
    optimizer = torch.optim.Adam([method.loss.log_sigma], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        method.loss(output, image).mean().backward()
        optimizer.step()
    assert method.loss.sigma.item() == pytest.approx(0.3, rel=1e-3)


# --- the likelihood ------------------------------------------------------------------------------


def one_by_one(method: VAE, x: Tensor, noise: Tensor) -> Tensor:
    """Equation 8 of Burda et al. with torch's distributions, draw by draw: (draws, B)."""
    normal = torch.distributions.Normal
    mu, logvar = method.encode(x)
    q, p = normal(mu, torch.exp(0.5 * logvar)), normal(torch.zeros_like(mu), torch.ones_like(mu))
    rows = []
    for eps in noise:
        z = mu + torch.exp(0.5 * logvar) * eps
        likelihood = torch.distributions.Bernoulli(logits=method.decoder(z)).log_prob(x)
        rows.append(likelihood.sum((1, 2, 3)) + p.log_prob(z).sum(1) - q.log_prob(z).sum(1))
    return torch.stack(rows)


@torch.no_grad()
def test_importance_weights_are_their_definition() -> None:
    method = vae(binarize="static", latent=4)
    x = torch.rand(3, *SHAPE)
    torch.manual_seed(2)
    weights = method.log_weights(x, 6)
    torch.manual_seed(2)
    expected = one_by_one(method, binarize(x), torch.randn(6, 3, 4))
    assert_close(weights.float(), expected, rtol=1e-5, atol=1e-3)
    assert weights.dtype == torch.float64


@torch.no_grad()
def test_with_any_posterior_the_weights_average_to_the_likelihood() -> None:
    """The oracle: probabilistic PCA, whose likelihood is known; the bound lies above it."""
    method, evidence = linear_vae(posterior_shift=0.2)
    torch.manual_seed(0)
    x = torch.randn(1, *PIXELS)
    exact = -float(evidence.log_prob(x.flatten()))
    weights = method.log_weights(x, 20_000)[:, 0]
    estimate = -float(weights.logsumexp(0) - math.log(20_000))
    assert estimate == pytest.approx(exact, abs=0.02)
    divergence = float((0.2**2 / method.fc_logvar.bias.exp()).sum() / 2)
    assert -float(weights.mean()) == pytest.approx(exact + divergence, abs=0.02)
    assert divergence > 0.1


def test_a_collapsed_posterior_is_named_and_another_is_not() -> None:
    method = vae()
    update = updating(method)
    assert method.warnings({"active_units": 0.0, "kl": 0.01}, update) == []  # it has just begun
    update.begin(100)
    (line,) = method.warnings({"active_units": 0.0, "kl": 0.01}, update)
    assert "posterior collapse" in line and "method.free_bits" in line and "0.01 nats" in line
    assert method.warnings({"active_units": 1.0, "kl": 3.0}, update) == []
    assert method.warnings({"kl": 3.0}, update) == []
