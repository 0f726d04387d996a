"""Every number that applies to a method on a split, by what the method can do."""

import torch
from torch import Tensor

from dlrun.data.table import DataSet, PixelScale, Table
from dlrun.data.views import domain_rows
from dlrun.evaluation.features import knn_predict, linear_probe, share_equal
from dlrun.evaluation.inference import Inference
from dlrun.methods.capabilities import (
    Direction,
    Embeds,
    Predicts,
    Reconstructs,
    Translates,
    Validates,
)
from dlrun.randomness import seed_everything

DIRECTIONS: tuple[Direction, Direction] = ("a_to_b", "b_to_a")


def evaluate(
    inference: Inference, split: str, seed: int, thorough: bool = True
) -> dict[str, float]:
    """Numbers of `split` ('val' or 'test'), a function of the weights and the seed alone.

    Args:
        inference: the method and its data.
        split: which images are judged; what a number needs besides comes from train.
        seed: of the evaluation's own random numbers.
        thorough: also what is too slow to repeat while training: the linear probe, and features of
            methods that classify.
    """
    method, table = inference.method, getattr(inference.data, split)
    if not len(table):
        return {}
    seed_everything(seed, "evaluation", split)
    numbers: dict[str, float] = {}
    with inference.evaluating():
        if isinstance(method, Predicts) and table.labels is not None:
            numbers["accuracy"] = share_equal(
                inference.over(table, lambda x: method.predict(x)).argmax(1).cpu(),
                table.labels.cpu(),
            )
        if isinstance(method, Validates):
            numbers |= _validated(inference, method, table)
        wanted = thorough or not isinstance(method, Predicts)
        if isinstance(method, Embeds) and table.labels is not None and wanted:
            numbers |= _features(inference, method, table, thorough)
        if isinstance(method, Reconstructs):
            numbers["reconstruction_error"] = _reconstruction_error(inference, method, table)
        if isinstance(method, Translates):
            numbers |= _translation(inference, method, split)
    return numbers


def trivial(data: DataSet, split: str, numbers: dict[str, float]) -> dict[str, float]:
    """For each of `numbers` that has one, what the baseline without training reaches on `split`."""
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
    if "reconstruction_error" in numbers:
        found["reconstruction_error"] = float((test - train.mean(0)).square().mean())
    if "target_share" in numbers:
        a, b = domain_rows(data, split)
        judge = DomainJudge(data)
        shares = [judge.share(_raw_rows(table, rows), target) for rows, target in ((a, 1), (b, 0))]
        found |= {"target_share": min(shares), "cycle_error": 0.0}
    return found


class DomainJudge:
    """Tells the two domains apart by the 20 nearest raw train images; it needs no training."""

    def __init__(self, data: DataSet) -> None:
        a, b = domain_rows(data)
        self.bank = torch.cat([_raw_rows(data.train, a), _raw_rows(data.train, b)])
        self.labels = torch.cat([torch.zeros(len(a)), torch.ones(len(b))]).long()

    def share(self, images: Tensor, target: int) -> float:
        """The share of `images` (N, D), raw pixels in [0, 1], taken for domain `target`, 0 or 1."""
        return float((knn_predict(self.bank, self.labels, images) == target).double().mean())


def _raw(table: Table) -> Tensor:
    return table.images.cpu().flatten(1).float().div_(255)


def _raw_rows(table: Table, rows: Tensor) -> Tensor:
    return table.images.cpu()[rows].flatten(1).float().div_(255)


def _validated(inference: Inference, method: Validates, table: Table) -> dict[str, float]:
    parts: dict[str, list[Tensor]] = {}
    for image, label in inference.batches(table):
        for name, values in method.validate(image, label).items():
            parts.setdefault(name, []).append(values.double())
    return {name: float(torch.cat(values).mean()) for name, values in parts.items()}


def _features(inference: Inference, method: Embeds, table: Table, probe: bool) -> dict[str, float]:
    train, labels = inference.over(inference.data.train, method.embed), inference.data.train.labels
    features = inference.over(table, method.embed)
    assert labels is not None and table.labels is not None
    labels, wanted = labels.to(train.device), table.labels.to(train.device)
    numbers = {"knn": share_equal(knn_predict(train, labels, features), wanted)}
    if probe:
        numbers["linear_probe"] = share_equal(linear_probe(train, labels, features), wanted)
    return numbers


def _reconstruction_error(inference: Inference, method: Reconstructs, table: Table) -> float:
    errors = []
    for image, _ in inference.batches(table):
        difference = method.reconstruct(image) - inference.scale.to_unit(image)
        errors.append(difference.square().flatten(1).mean(1).double())
    return float(torch.cat(errors).mean())


def _translation(inference: Inference, method: Translates, split: str) -> dict[str, float]:
    """How often a translation is taken for the target domain, and what comes back of the image."""
    table: Table = getattr(inference.data, split)
    judge, scale = DomainJudge(inference.data), inference.scale
    shares, errors = [], []
    for there, back, rows in zip(
        DIRECTIONS, DIRECTIONS[::-1], domain_rows(inference.data, split), strict=True
    ):
        translated = []
        for image, _ in inference.batches(table, rows):
            there_unit = method.translate(image, there)
            again = method.translate(_rescale(there_unit, scale, inference.memory_format), back)
            errors.append((again - scale.to_unit(image)).abs().flatten(1).mean(1).double())
            translated.append(there_unit.flatten(1).cpu())
        shares.append(judge.share(torch.cat(translated), 1 if there == "a_to_b" else 0))
    return {
        "target_share": min(shares),  # a generator that always draws one thing wins one way only
        "target_share_a_to_b": shares[0],
        "target_share_b_to_a": shares[1],
        "cycle_error": float(torch.cat(errors).mean()),
    }


def _rescale(unit: Tensor, scale: PixelScale, memory_format: torch.memory_format) -> Tensor:
    return scale.from_unit(unit.clone()).contiguous(memory_format=memory_format)
