"""Active units and likelihoods against plain definitions."""

import math

import pytest
import torch
from parts import data_of, inference_on
from torch import Tensor

from dlrun.data.table import DataSet, Table
from dlrun.evaluation.baselines import trivial
from dlrun.evaluation.evaluate import code_numbers, likelihood
from dlrun.losses.reconstruction import gaussian_kl
from dlrun.methods.base import Method


def table(count: int) -> Table:
    images = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(count))
    return Table(images.to(torch.uint8), None)


def data_set() -> DataSet:
    return data_of(table(300), table(260), table(30), classes=0)


class Coded(Method):
    """Two numbers of the code are pixels, one of them nearly constant, the third is nothing."""

    likelihood_metric = "negative_log_likelihood"

    def __init__(self, draws: int = 25) -> None:
        super().__init__()
        self.likelihood_draws = draws
        self.asked: list[int] = []

    def posterior(self, image: Tensor) -> tuple[Tensor, Tensor]:
        pixels = image.flatten(1)
        mu = torch.stack([pixels[:, 0], 0.01 * pixels[:, 1], 0 * pixels[:, 2] + 3], 1)
        return mu, mu - 1

    def log_weights(self, image: Tensor, draws: int) -> Tensor:
        first = 1 + sum(self.asked)
        self.asked.append(draws)
        numbers = torch.arange(first, first + draws, dtype=torch.float64)
        return -1000 * image.flatten(1)[:, 0].double() + numbers[:, None].log()


def test_active_units_vary_from_image_to_image_and_the_terms_add_up_to_the_kl() -> None:
    method, val = Coded(), data_set().val
    subject = inference_on(method, data_set())
    assert code_numbers(subject, method, val, full=False) == {"active_units": 1.0}
    found = code_numbers(subject, method, val, full=True)
    assert list(found) == ["active_units", "kl/00", "kl/01", "kl/02"]
    mu, logvar = method.posterior(val.images.float() / 255)
    total = sum(value for name, value in found.items() if name.startswith("kl/"))
    assert total == pytest.approx(float(gaussian_kl(mu, logvar).mean()), rel=1e-5)


@pytest.mark.parametrize("draws", [1, 10, 25])
def test_the_likelihood_is_the_mean_of_the_weights_in_parts_and_without_underflow(
    draws: int,
) -> None:
    """Weights -1000 x + log j: exp of them is 0 in any float, their mean's logarithm is not."""
    method, data = Coded(draws), data_set()
    found = likelihood(inference_on(method, data), method, data.test)
    x = data.test.images.flatten(1)[:, 0].double() / 255
    mean_of_numbers = (draws + 1) / 2
    expected = float((1000 * x).mean()) - math.log(mean_of_numbers)
    assert method.asked == [10] * (draws // 10) + [draws % 10] * (draws % 10 > 0)
    assert found["negative_log_likelihood"] == pytest.approx(expected, rel=1e-6)
    bits = found["negative_log_likelihood"] / 16 / math.log(2)
    assert found["bits_per_dimension"] == pytest.approx(bits)


def test_a_density_has_no_bits() -> None:
    method = Coded()
    method.likelihood_metric = "negative_log_density"
    assert list(likelihood(inference_on(method, data_set()), method, data_set().test)) == [
        "negative_log_density"
    ]


def test_codes_have_baselines_of_as_many_numbers() -> None:
    wanted = {"squared_error": 0.0, "negative_log_density": 0.0, "negative_log_likelihood": 0.0}
    data = data_set()
    few, many = (trivial(data, "test", wanted, size) for size in (2, 12))
    assert few.keys() == {*wanted, "bits_per_dimension"}
    assert many["squared_error"] < few["squared_error"]
    assert few["bits_per_dimension"] == pytest.approx(1, abs=0.1)  # of noise
    assert trivial(data, "test", wanted) == {}
    assert trivial(data, "test", wanted, 16) == {}
