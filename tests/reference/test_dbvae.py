"""DB-VAE against its pseudo-code (Amini et al. 2019, algorithm 1; the lecture notes' loss)."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from parts import Gradients, method_of, take_step, updating
from torch import Tensor
from torch.nn import functional as F

from dlrun.data.batches import EvalBatch
from dlrun.data.info import Column, DataInfo
from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.methods.dbvae import DBVAE, HalfWeighted
from dlrun.training.update import Update

SHAPE = (1, 6, 6)
COLUMNS = {"gender": Column(2, 0.5, 0.5), "age": Column(None, 40.0, 10.0)}


def dbvae(classes: int = 2, positive: int | None = 0, rows: int = 12, **changes: Any) -> DBVAE:
    options = {"latent": 5, "classification": 3.0, "beta": 0.7} | changes
    method: DBVAE = method_of(
        "method=dbvae",
        "model=mlp_autoencoder",
        "model.hidden=[16]",
        "loss=bce",
        *(f"method.{name}={value}" for name, value in options.items()),
        info=DataInfo(SHAPE, tuple("abcde"[:classes]), attributes=COLUMNS, positive=positive),
        rows=rows,
    )
    return method


def adam(method: DBVAE) -> Update:
    return updating(method, torch.optim.Adam, lr=1e-2)


def batch(y: Tensor, gender: Tensor | None = None, grad: bool = False) -> HalfWeighted:
    x = torch.rand(len(y), *SHAPE).requires_grad_(grad)
    return HalfWeighted(x, y, torch.arange(len(y)), {} if gender is None else {"gender": gender})


@pytest.mark.parametrize("positive", [0, 1])
def test_steps_are_the_pseudo_codes(positive: int) -> None:
    """Two classes: one logit, binary cross-entropy of all, the VAE's loss of the positives."""
    method = dbvae(positive=positive)
    update = adam(method)
    twin = copy.deepcopy(method)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-2)
    for step in range(3):
        y = torch.tensor([0, 1, 1, 0, 1, 0])
        drawn = batch(y)
        torch.manual_seed(step)
        metrics = take_step(method, update, drawn, step)

        torch.manual_seed(step)
        h = twin.encoder(drawn.image)
        logit, mu, logvar = twin.fc_logit(h), twin.fc_mu(h), twin.fc_logvar(h)
        assert logit.shape == (6, 1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        x_hat = torch.sigmoid(twin.decoder(z))
        face = (y == positive).float()
        l_y = F.binary_cross_entropy(torch.sigmoid(logit[:, 0]), face, reduction="none")
        l_x = F.binary_cross_entropy(x_hat, drawn.image, reduction="none").sum((1, 2, 3))
        l_kl = 0.5 * (torch.exp(logvar) + mu**2 - 1 - logvar).sum(1)
        total = (3.0 * l_y + face * (l_x + 0.7 * l_kl)).mean()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

        metrics.pop("accuracy")
        expected = {
            "loss": total, "classification": l_y.mean(), "kl": (face * l_kl).sum() / 3,
            "reconstruction": (face * l_x).sum() / 3,
        }  # fmt: skip
        torch.testing.assert_close(metrics, expected)
        for (name, ours), theirs in zip(method.named_parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_more_classes_are_told_apart_and_one_is_debiased() -> None:
    method = dbvae(classes=4, positive=2)
    drawn = batch(torch.tensor([0, 1, 2, 3, 2]))
    torch.manual_seed(1)
    metrics = take_step(method, updating(method), drawn)
    logits, mu, logvar = method.encode(drawn.image)
    assert logits.shape == (5, 4)
    expected = F.cross_entropy(logits, drawn.label)
    torch.testing.assert_close(metrics["classification"], expected)
    kl = 0.5 * (torch.exp(logvar) + mu**2 - 1 - logvar).sum(1)
    torch.testing.assert_close(metrics["kl"], (kl[2] + kl[4]) / 2)


INDICATORS: list[tuple[dict[str, Any], list[bool]]] = [
    ({}, [True, False, False, True]),
    ({"indicator": "attribute", "attribute": "gender"}, [False, True, False, True]),
    ({"indicator": "attribute", "attribute": "gender", "value": 0}, [True, False, False, False]),
    ({"indicator": "unsure", "confidence": 1.0}, [True] * 4),
    ({"indicator": "unsure", "confidence": 0.0}, [False] * 4),
]


@pytest.mark.parametrize(("changes", "expected"), INDICATORS)
def test_gradients_of_the_masked_loss_are_exactly_zero_elsewhere(
    changes: dict[str, Any], expected: list[bool]
) -> None:
    method = dbvae(classification=0.0, **changes)
    drawn = batch(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, -1, 1]), grad=True)
    method.step(drawn, Gradients())
    assert drawn.image.grad is not None
    reached = drawn.image.grad.flatten(1).abs().sum(1)
    assert [value > 0 for value in reached.tolist()] == expected
    assert reached[~torch.tensor(expected)].tolist() == [0.0] * expected.count(False)


def test_negatives_alone_move_nothing_of_the_autoencoder_but_train_the_classifier() -> None:
    method = dbvae()
    before = {name: p.clone() for name, p in method.named_parameters()}
    take_step(method, adam(method), batch(torch.ones(6).long()))
    moved = {n.split(".")[0] for n, p in method.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {"encoder", "fc_logit"}


def test_an_infinite_loss_of_what_is_masked_does_no_harm() -> None:
    method = dbvae()
    drawn = batch(torch.tensor([0, 1]))
    drawn.image[1] = 1e38
    take_step(method, adam(method), drawn)
    assert all(p.isfinite().all() for p in method.decoder.parameters())


def test_the_unsure_are_those_whose_surest_class_is_less_likely() -> None:
    method = dbvae(classes=3, positive=None, indicator="unsure", confidence=0.6)
    chances = torch.tensor([[0.59, 0.31, 0.1], [0.61, 0.2, 0.19], [0.34, 0.33, 0.33]])
    found = method.indicated(chances.log(), torch.zeros(3).long(), {})
    assert found.tolist() == [True, False, True]


# --- weights -------------------------------------------------------------------------------------


def table(labels: list[int], **columns: list[int]) -> Table:
    images = torch.randint(0, 256, (len(labels), *SHAPE)).byte()
    return Table(
        images, torch.tensor(labels), {n: torch.tensor(column) for n, column in columns.items()}
    )


def codes(seen: Tensor, rows: list[int]) -> Any:
    """What the loop hands in, giving `seen` (M, D) for the images of `rows` alone."""

    def over(function: Any, asked: Tensor) -> Tensor:
        assert asked.tolist() == rows
        return seen

    return over


def test_weights_are_the_authors_of_the_positives_and_zero_of_the_others() -> None:
    torch.manual_seed(0)
    train = table([0, 1] * 100)
    method = dbvae(rows=200, positive=1)
    seen = torch.randn(100, 5)
    told = method.before_epoch(train, codes(seen, list(range(1, 200, 2))))
    assert torch.equal(told["code"], seen)

    weights = np.zeros(100)
    for unit in ((seen - seen.mean(0)) / seen.std(0, correction=0)).double().numpy().T:
        counts, edges = np.histogram(unit, bins=10)
        edges[0], edges[-1] = -np.inf, np.inf
        mass = counts / 100 + 0.01
        p = 1 / (mass / mass.sum())[np.digitize(unit, edges) - 1]
        weights = np.maximum(weights, p / p.sum())
    weights /= weights.sum()
    torch.testing.assert_close(method.weights[1::2], torch.from_numpy(weights).float())
    assert not method.weights[::2].any()
    assert told["effective_sample_size"].item() == pytest.approx(1 / (weights**2).sum())
    assert told["effective_fraction"].item() == pytest.approx(1 / (weights**2).sum() / 100)


def test_the_controls_weights() -> None:
    torch.manual_seed(0)
    train = table([1] * 4 + [0], gender=[0, 0, 0, 1, 1])
    seen = torch.randn(4, 5)
    found = {}
    for resampling in ("latent", "shuffled", "none", "attribute"):
        method = dbvae(rows=5, positive=1, resampling=resampling, balance="[gender]")
        method.before_epoch(train, codes(seen, [0, 1, 2, 3]))
        found[resampling] = method.weights
    assert torch.equal(found["shuffled"].sort().values, found["latent"].sort().values)
    assert found["none"].tolist() == [0.25] * 4 + [0.0]
    torch.testing.assert_close(found["attribute"], torch.tensor([1 / 6] * 3 + [1 / 2, 0.0]))


def test_classes_are_balanced_by_their_label_where_none_is_positive() -> None:
    train = table([0, 0, 0, 1])
    method = dbvae(rows=4, positive=None, resampling="attribute", balance="[label]")
    method.before_epoch(train, codes(torch.randn(4, 5), [0, 1, 2, 3]))
    torch.testing.assert_close(method.weights, torch.tensor([1 / 6] * 3 + [1 / 2]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indicator": "attribute"}, "method.attribute: 'None' is not .* one of gender"),
        ({"indicator": "attribute", "attribute": "age"}, "'age' is not .* one of gender"),
        (
            {"resampling": "attribute"},
            "method.balance: got null, expected .* some of label, gender",
        ),
        (
            {"resampling": "attribute", "balance": "[race]"},
            "method.balance: 'race' is not .* one of label, gender",
        ),
    ],
)
def test_columns_that_are_not_there_are_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dbvae(**changes)


def test_it_warns_of_a_few_images_that_count_and_of_codes_that_say_nothing() -> None:
    method = dbvae(rows=100)
    update = updating(method)
    update.begin(100)
    assert method.warnings({"active_units": 3.0}, update) == []
    method.weights.fill_(0.01)
    assert method.warnings({"active_units": 3.0}, update) == []
    method.weights[0] = 1.0
    (line,) = method.warnings({"active_units": 3.0}, update)
    assert "only 1 of 100 images count" in line and "raise method.alpha above 0.01" in line
    (_, line) = method.warnings({"active_units": 0.0}, update)
    assert "posterior collapse" in line


def test_held_out_numbers() -> None:
    """The class's loss of every image, the bound only of those that the decoder has learnt."""
    method = dbvae().eval()
    x, y = torch.rand(5, *SHAPE), torch.tensor([0, 1, 1, 0, 1])
    with torch.inference_mode():
        told = method.validate(EvalBatch(x, y))
        assert {name: len(values) for name, values in told.items()} == {
            "loss": 5, "negative_elbo": 2, "kl": 2,
        }  # fmt: skip
        torch.testing.assert_close(
            told["loss"], F.cross_entropy(method.predict(x), y, reduction="none")
        )
