"""Every number that applies to a method on a split, by what the method can do."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from dlrun.data.table import LABEL, Table, domain_rows, exact
from dlrun.errors import CodeError
from dlrun.evaluation.baselines import DomainNeighbours
from dlrun.evaluation.features import (
    full_precision,
    knn_predict,
    linear_probe,
    mean_average_precision,
    queries,
    recalls,
    share_equal,
    spread,
)
from dlrun.evaluation.groups import group_numbers
from dlrun.evaluation.inference import DIRECTIONS, Inference
from dlrun.losses.reconstruction import gaussian_kl_of_each
from dlrun.methods.abilities import (
    Decodes,
    Embeds,
    HasLikelihood,
    HasPosterior,
    HasProjection,
    Predicts,
    PredictsTasks,
    Reconstructs,
    Translates,
)
from dlrun.methods.hooks import HasTeacher, Totals, Validates
from dlrun.randomness import seed_everything
from dlrun.text import given

# The variance of the posterior's mean: Burda et al. 2016, arXiv 1509.00519, section 5.2.
_ACTIVE = 1e-2
_DRAWS = 10  # at a time for a batch of images


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
        split: which images are evaluated; neighbours and probes are fitted to train.
        seed: of the evaluation's own random numbers.
        full: whether to add what is too slow to repeat during training: the linear probe, and the
            features of methods that classify.
        taught: the teacher's predictions for the split, if known; see `teacher_predictions`.
    """
    method, table = inference.method, getattr(inference.data, split)
    if not len(table):
        return {}
    seed_everything(seed, "evaluation", split)
    predicted: dict[str, float] = {}
    own: dict[str, float] = {}
    numbers: dict[str, float] = {}
    if taught is None and full:
        taught = teacher_predictions(inference, table)
    with inference.evaluating():
        if isinstance(method, Predicts) and method.classifies and table.labels is not None:
            predicted = _predictions(inference, method, table, taught, full)
        if isinstance(method, PredictsTasks) and inference.data.groups:
            predicted |= _tasks_by_group(inference, method, table, full)
        if isinstance(method, Validates):
            # A bound and the likelihood that it bounds are of the same arithmetic.
            bounds = isinstance(method, HasLikelihood)
            with full_precision() if bounds else nullcontext():
                own = validated(inference, method, table)
        wanted = full or not isinstance(method, Predicts)
        several = table.labels is not None and inference.data.num_classes > 1
        if isinstance(method, Embeds) and several and wanted:
            numbers |= _features(inference, method, table, full)
        if isinstance(method, HasProjection):
            numbers |= spread(inference.over(table, method.project))
        if isinstance(method, HasPosterior):
            numbers |= code_numbers(inference, method, table, full)
        if isinstance(method, HasLikelihood) and method.likelihood_draws and full:
            numbers |= likelihood(inference, method, table)
        if isinstance(method, Reconstructs) and len(inference.decoded(table)):
            numbers["reconstruction_error"] = _reconstruction_error(inference, method, table)
            if isinstance(method, Decodes):
                of_image = table.images[0].numel()
                numbers["squared_error"] = numbers["reconstruction_error"] * of_image
        if isinstance(method, Translates):
            numbers |= _translation(inference, method, split)
    for name in own.keys() & (predicted.keys() | numbers.keys()):
        raise CodeError(
            f"validate() returned {name!r}, which dlrun measures itself; give yours another name",
            type(method).validate,  # type: ignore[attr-defined]
        )
    return predicted | own | numbers


def validated(
    inference: Inference, method: Validates, table: Table, rows: Tensor | None = None
) -> dict[str, float]:
    """The method's own metrics, averaged over a table, or over some rows of it.

    Raises:
        CodeError: they are not what `Validates` says.
    """
    parts: dict[str, list[Tensor]] = {}
    for number, batch in enumerate(inference.batches(table, rows)):
        found = method.validate(batch)
        if not isinstance(found, Mapping):
            raise CodeError(
                f"validate() returned {given(found)}, expected a dict of tensors (B,)",
                method.validate,
            )
        if number and found.keys() != parts.keys():
            raise CodeError(
                f"validate() returned {', '.join(found) or 'nothing'}, but {', '.join(parts)} for "
                "the batch before; expected the same names for every batch",
                method.validate,
            )
        for name, values in found.items():
            of_images = isinstance(values, Tensor) and values.ndim == 1
            if not of_images or len(values) > len(batch.image):
                raise CodeError(
                    f"validate() returned {given(values)} for {name!r}, expected a tensor "
                    f"({len(batch.image)},) with one value for each image",
                    method.validate,
                )
            parts.setdefault(name, []).append(values)
    joined = {name: _exact(values) for name, values in parts.items()}
    means = {name: float(values.mean()) for name, values in joined.items() if len(values)}
    return method.totals(means) | means if isinstance(method, Totals) else means


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
    predicted = inference.over(table, method.predict).argmax(1).cpu()
    assert table.labels is not None
    numbers = {"accuracy": share_equal(predicted, table.labels.cpu())}
    numbers |= group_numbers(inference.data, table, predicted, full)
    return numbers if taught is None else numbers | {"agreement": share_equal(predicted, taught)}


def _tasks_by_group(
    inference: Inference, method: PredictsTasks, table: Table, full: bool
) -> dict[str, float]:
    """Of the tasks that are classes; the label's own numbers come with its accuracy."""
    names = [task.name for task in method.tasks if task.classes and task.name != LABEL]
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for batch in inference.batches(table):
        predicted = method.predict_tasks(batch.image)
        for name in names:
            parts[name].append(predicted[name].argmax(1))
    numbers: dict[str, float] = {}
    for name, found in parts.items():
        numbers |= group_numbers(inference.data, table, torch.cat(found), full, name)
    return numbers


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
        numbers |= recalls(features, wanted)
        if probe and retrieves:
            numbers["mean_average_precision"] = mean_average_precision(features, wanted)
    return numbers


def code_numbers(
    inference: Inference, method: HasPosterior, table: Table, full: bool
) -> dict[str, float]:
    """`active_units`: the dimensions that depend on the image; if `full`, `kl/00`, `kl/01`, ..."""
    means, parts = [], []
    for batch in inference.batches(table, inference.decoded(table)):
        mu, logvar = method.posterior(batch.image)
        means.append(mu)
        parts.append(gaussian_kl_of_each(mu, logvar))
    numbers = {}
    if sum(map(len, means)) > 1:  # a single image has no variance
        numbers["active_units"] = float((_exact(means).var(0) > _ACTIVE).sum())
    if full and parts:
        each = _exact(parts).mean(0).tolist()
        numbers |= {f"kl/{dim:02d}": value for dim, value in enumerate(each)}
    return numbers


@full_precision()
def likelihood(inference: Inference, method: HasLikelihood, table: Table) -> dict[str, float]:
    """-log p(x) by importance-weighted draws (Burda et al. 2016, equation 8), nats an image.

    An upper bound on average, tighter with more draws. Of binary pixels also in bits a pixel.
    """
    found = torch.cat([_log_likelihood(method, batch.image) for batch in inference.batches(table)])
    name, value = method.likelihood_metric, -float(found.mean())
    numbers = {name: value}
    if name == "negative_log_likelihood":
        pixels = table.images[0].numel()
        numbers["bits_per_dimension"] = value / (pixels * math.log(2))
    return numbers


def _log_likelihood(method: HasLikelihood, image: Tensor) -> Tensor:
    """log mean exp of the weights, (B,), a few draws at a time: all would not fit in memory."""
    total = torch.full((len(image),), -math.inf, dtype=torch.float64)
    for left in range(method.likelihood_draws, 0, -_DRAWS):
        weights = method.log_weights(image, min(left, _DRAWS))
        total = torch.logaddexp(total, weights.cpu().double().logsumexp(0))
    return total - math.log(method.likelihood_draws)


def _reconstruction_error(inference: Inference, method: Reconstructs, table: Table) -> float:
    errors = []
    for batch in inference.batches(table, inference.decoded(table)):
        difference = method.reconstruct(batch.image) - inference.scale.to_unit(batch.image)
        errors.append(difference.square().flatten(1).mean(1))
    return float(_exact(errors).mean())


def _exact(parts: Sequence[Tensor]) -> Tensor:
    """The parts joined."""
    return exact(torch.cat([*parts]))


def _translation(inference: Inference, method: Translates, split: str) -> dict[str, float]:
    """How many translations are classified as the target domain, and the error of the way back."""
    data = inference.data
    table: Table = getattr(data, split)
    domains, found, errors = DomainNeighbours(data), {}, []
    for there, back, rows, target in zip(
        DIRECTIONS, DIRECTIONS[::-1], domain_rows(data, split), (1, 0), strict=True
    ):
        translated = []
        for batch in inference.batches(table, rows):
            unit = method.translate(batch.image, there)
            again = method.translate(inference.seen(unit), back)
            wanted = inference.scale.to_unit(batch.image)
            errors.append((again - wanted).abs().flatten(1).mean(1))
            translated.append(unit.flatten(1).cpu())
        found[f"target_share_{there}"] = domains.share(torch.cat(translated), target)
    # The worse one: a generator that always draws one thing wins in one direction only.
    shares = {"target_share": min(found.values()), **found}
    return shares | {"cycle_error": float(_exact(errors).mean())}
