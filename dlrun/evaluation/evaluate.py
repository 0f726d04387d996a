"""Every number that applies to a method on a split, by what the method can do."""

import math

import torch
from torch import Tensor

from dlrun.data.table import DataSet, PixelScale, Table, domain_rows
from dlrun.evaluation.codes import code_numbers, likelihood
from dlrun.evaluation.features import knn_predict, linear_probe, share_equal, spread
from dlrun.evaluation.groups import group_numbers
from dlrun.evaluation.inference import Inference
from dlrun.evaluation.linear import (
    independent_negative_log_likelihood,
    pca_squared_error,
    ppca_negative_log_density,
)
from dlrun.evaluation.retrieval import mean_average_precision, queries, recall_at_k
from dlrun.losses.reconstruction import binarize
from dlrun.methods.abilities import (
    Decodes,
    Direction,
    Embeds,
    HasLikelihood,
    HasPosterior,
    HasProjection,
    Predicts,
    Reconstructs,
    Translates,
)
from dlrun.methods.hooks import HasTeacher, Validates
from dlrun.randomness import seed_everything

DIRECTIONS: tuple[Direction, Direction] = ("a_to_b", "b_to_a")


def evaluate(
    inference: Inference,
    split: str,
    seed: int,
    full: bool = True,
    taught: Tensor | None = None,
) -> dict[str, float]:
    """Numbers of `split` ('val' or 'test'), a function of the weights and the seed alone.

    Args:
        inference: the method and its data.
        split: which images are evaluated; what a number needs besides comes from train.
        seed: of the evaluation's own random numbers.
        full: also what is too slow to repeat while training: the linear probe, and features of
            methods that classify.
        taught: the teacher's predictions for the split, see `teacher_predictions`.
    """
    method, table = inference.method, getattr(inference.data, split)
    if not len(table):
        return {}
    seed_everything(seed, "evaluation", split)
    numbers: dict[str, float] = {}
    if taught is None and full:
        taught = teacher_predictions(inference, table)
    with inference.evaluating():
        if isinstance(method, Predicts) and method.classifies and table.labels is not None:
            numbers |= _predictions(inference, method, table, taught, full)
        if isinstance(method, Validates):
            numbers |= _validated(inference, method, table)
        wanted = full or not isinstance(method, Predicts)
        if isinstance(method, Embeds) and table.labels is not None and wanted:
            numbers |= _features(inference, method, table, full)
        if isinstance(method, HasProjection):
            numbers |= spread(inference.over(table, method.project))
        if isinstance(method, HasPosterior):
            numbers |= code_numbers(inference, method, table, full)
        if isinstance(method, HasLikelihood) and method.likelihood_draws and full:
            numbers |= likelihood(inference, method, table)
        if isinstance(method, Reconstructs):
            numbers["reconstruction_error"] = _reconstruction_error(inference, method, table)
            if isinstance(method, Decodes):
                of_image = table.images[0].numel()
                numbers["squared_error"] = numbers["reconstruction_error"] * of_image
        if isinstance(method, Translates):
            numbers |= _translation(inference, method, split)
    return numbers


def trivial(
    data: DataSet, split: str, numbers: dict[str, float], code_dim: int = 0
) -> dict[str, float]:
    """For each of `numbers` that has one, the baseline without training on `split`.

    `code_dim`: of a method that has codes, so that a baseline may have as many dimensions.
    """
    table: Table = getattr(data, split)
    found: dict[str, float] = {}
    train, test = _raw(data.train), _raw(table)
    if data.train.labels is not None and table.labels is not None:
        labels, wanted = data.train.labels.cpu(), table.labels.cpu()
        if "accuracy" in numbers:
            found["accuracy"] = share_equal(labels.mode().values, wanted)
        if "knn" in numbers:
            found["knn"] = share_equal(knn_predict(train, labels, test), wanted)
        if "linear_probe" in numbers:
            found["linear_probe"] = share_equal(linear_probe(train, labels, test), wanted)
        if "recall_at_1" in numbers:
            found |= _recalls(test, wanted)
        if "mean_average_precision" in numbers:
            found["mean_average_precision"] = mean_average_precision(test, wanted)
    if "reconstruction_error" in numbers:
        found["reconstruction_error"] = float((test - train.mean(0)).square().mean())
    if code_dim and code_dim < train.shape[1]:
        found |= _of_codes(train, test, numbers, code_dim)
    for name, column in data.train.attributes.items():
        found |= _trivial_attribute(name, column.cpu(), table.attributes[name].cpu(), numbers)
    if "target_share" in numbers:
        a, b = domain_rows(data, split)
        domains = DomainNeighbours(data)
        to_b, to_a = domains.share(_raw_rows(table, a), 1), domains.share(_raw_rows(table, b), 0)
        found |= {"target_share": min(to_b, to_a), "cycle_error": 0.0}
    return found


def _of_codes(
    train: Tensor, test: Tensor, numbers: dict[str, float], code_dim: int
) -> dict[str, float]:
    found = {}
    if "squared_error" in numbers:
        found["squared_error"] = pca_squared_error(train, test, code_dim)
    if "negative_log_density" in numbers:
        found["negative_log_density"] = ppca_negative_log_density(train, test, code_dim)
    if "negative_log_likelihood" in numbers:
        value = independent_negative_log_likelihood(*(binarize(x) for x in (train, test)))
        bits = value / (train.shape[1] * math.log(2))
        found |= {"negative_log_likelihood": value, "bits_per_dimension": bits}
    return found


def _trivial_attribute(
    name: str, train: Tensor, wanted: Tensor, numbers: dict[str, float]
) -> dict[str, float]:
    """The most frequent known class, or the median of the known numbers."""
    train, wanted = (
        column[~column.isnan() if column.is_floating_point() else column >= 0]
        for column in (train, wanted)
    )
    found = {}
    if f"accuracy_{name}" in numbers and len(train) and len(wanted):
        found[f"accuracy_{name}"] = share_equal(train.mode().values, wanted)
    if f"absolute_error_{name}" in numbers and len(train) and len(wanted):
        error = (train.double().median() - wanted.double()).abs().mean()
        found[f"absolute_error_{name}"] = float(error)
    return found


class DomainNeighbours:
    """Tells the two domains apart by the 20 nearest train images in raw pixels."""

    def __init__(self, data: DataSet) -> None:
        a, b = domain_rows(data)
        self.bank = torch.cat([_raw_rows(data.train, a), _raw_rows(data.train, b)])
        self.labels = torch.cat([torch.zeros(len(a)), torch.ones(len(b))]).long()

    def share(self, images: Tensor, target: int) -> float:
        """The fraction of `images` (N, D), raw pixels in [0, 1], classified as `target`, 0 or 1."""
        return float((knn_predict(self.bank, self.labels, images) == target).double().mean())


def _raw(table: Table) -> Tensor:
    return table.images.cpu().flatten(1).float().div_(255)


def _raw_rows(table: Table, rows: Tensor) -> Tensor:
    return table.images.cpu()[rows].flatten(1).float().div_(255)


def _validated(inference: Inference, method: Validates, table: Table) -> dict[str, float]:
    parts: dict[str, list[Tensor]] = {}
    for batch in inference.batches(table):
        for name, values in method.validate(batch).items():
            parts.setdefault(name, []).append(values.double())
    joined = {name: torch.cat(values) for name, values in parts.items()}
    return {name: float(values.mean()) for name, values in joined.items() if len(values)}


def teacher_predictions(inference: Inference, table: Table) -> Tensor | None:
    """The teacher's classes (N,), int64; None without a teacher that classifies."""
    method = inference.method
    if not isinstance(method, HasTeacher):
        return None
    classes = []
    with inference.evaluating():
        for batch in inference.batches(table):
            logits = method.teach(batch.image)
            if logits is None:
                return None
            classes.append(logits.argmax(1).cpu())
    return torch.cat(classes)


def _predictions(
    inference: Inference, method: Predicts, table: Table, taught: Tensor | None, full: bool
) -> dict[str, float]:
    predicted = inference.over(table, lambda x: method.predict(x)).argmax(1).cpu()
    assert table.labels is not None
    numbers = {"accuracy": share_equal(predicted, table.labels.cpu())}
    numbers |= group_numbers(inference.data, table, predicted, full)
    return numbers if taught is None else numbers | {"agreement": share_equal(predicted, taught)}


def _features(inference: Inference, method: Embeds, table: Table, probe: bool) -> dict[str, float]:
    train, labels = inference.over(inference.data.train, method.embed), inference.data.train.labels
    features = inference.over(table, method.embed)
    assert labels is not None and table.labels is not None
    labels, wanted = labels.to(train.device), table.labels.to(train.device)
    numbers = {"knn": share_equal(knn_predict(train, labels, features), wanted)}
    if probe:
        numbers["linear_probe"] = share_equal(linear_probe(train, labels, features), wanted)
    retrieves = inference.method.key_metric == "recall_at_1"
    if (probe or retrieves) and queries(wanted).any():
        numbers |= _recalls(features, wanted)
        if probe and retrieves:
            numbers["mean_average_precision"] = mean_average_precision(features, wanted)
    return numbers


def _recalls(features: Tensor, labels: Tensor) -> dict[str, float]:
    recalls = recall_at_k(features, labels, (1, 5))
    return {f"recall_at_{k}": recall for k, recall in recalls.items()}


def _reconstruction_error(inference: Inference, method: Reconstructs, table: Table) -> float:
    errors = []
    for batch in inference.batches(table):
        difference = method.reconstruct(batch.image) - inference.scale.to_unit(batch.image)
        errors.append(difference.square().flatten(1).mean(1).double())
    return float(torch.cat(errors).mean())


def _translation(inference: Inference, method: Translates, split: str) -> dict[str, float]:
    """How often a translation passes as the target domain, and what the way back recovers."""
    table: Table = getattr(inference.data, split)
    domains, scale = DomainNeighbours(inference.data), inference.scale
    shares, errors = [], []
    for there, back, rows in zip(
        DIRECTIONS, DIRECTIONS[::-1], domain_rows(inference.data, split), strict=True
    ):
        translated = []
        for batch in inference.batches(table, rows):
            there_unit = method.translate(batch.image, there)
            again = method.translate(_rescale(there_unit, scale, inference.memory_format), back)
            errors.append((again - scale.to_unit(batch.image)).abs().flatten(1).mean(1).double())
            translated.append(there_unit.flatten(1).cpu())
        shares.append(domains.share(torch.cat(translated), 1 if there == "a_to_b" else 0))
    return {
        "target_share": min(shares),  # a generator that always draws one thing wins one way only
        "target_share_a_to_b": shares[0],
        "target_share_b_to_a": shares[1],
        "cycle_error": float(torch.cat(errors).mean()),
    }


def _rescale(unit: Tensor, scale: PixelScale, memory_format: torch.memory_format) -> Tensor:
    return scale.from_unit(unit.clone()).contiguous(memory_format=memory_format)
