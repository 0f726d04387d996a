"""The registry of metrics: wording, direction, format and unit of each number of an evaluation."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from dlrun.options import Metric

_NATS = "nats an image"

METRICS = {
    "accuracy": Metric("accuracy", True, ".3f", trivial="the most frequent class"),
    "recall": Metric("recall of the positives", True, ".3f"),
    "precision": Metric("precision", True, ".3f"),
    "false_positive_rate": Metric("false positive rate", False, ".3f"),
    "worst_group_recall": Metric("worst group's recall", True, ".3f"),
    "worst_group_accuracy": Metric("worst group's accuracy", True, ".3f"),
    "group_gap": Metric("gap between groups", False, ".3f"),
    "group_variance": Metric("variance of groups", False, ".2f", "pt²"),
    "outside_groups": Metric("images in no group: a value is missing", None, ".0f"),
    "agreement": Metric("agreement with the teacher", True, ".3f"),
    "knn": Metric("kNN accuracy (k=20)", True, ".3f", trivial="raw pixels"),
    "linear_probe": Metric("linear probe accuracy", True, ".3f", trivial="raw pixels"),
    "margin": Metric("margin loss", False, ".4f"),
    "reconstruction": Metric("squared error, summed over an image", False, ".2f"),
    "recall_at_1": Metric("recall@1", True, ".3f", trivial="raw pixels"),
    "recall_at_5": Metric("recall@5", True, ".3f", trivial="raw pixels"),
    "mean_average_precision": Metric("mAP", True, ".3f", trivial="raw pixels"),
    "probe_accuracy": Metric("online probe accuracy", True, ".3f"),
    "projection_std": Metric("std of projections", None, ".4f"),
    "projection_rank": Metric("effective rank of projections", None, ".1f"),
    "reconstruction_error": Metric("reconstruction MSE", False, ".4f", trivial="the mean image"),
    "squared_error": Metric(
        "squared error of an image", False, ".2f", trivial="PCA of the same dimension"
    ),
    "negative_log_likelihood": Metric(
        "-log p(x)", False, ".2f", _NATS, trivial="independent pixels"
    ),
    "negative_log_density": Metric(
        "-log p(x), a density", False, ".2f", _NATS, trivial="probabilistic PCA"
    ),
    "bits_per_dimension": Metric("bits a pixel", False, ".4f", trivial="independent pixels"),
    "active_units": Metric("active units of the code", None, ".0f"),
    "negative_elbo": Metric("-ELBO", False, ".1f", _NATS),
    "kl": Metric("KL term", None, ".1f", _NATS),
    "absolute_error": Metric("absolute error", False, ".4g"),
    "loss": Metric("loss", False, ".4f"),
    "target_share": Metric(
        "classified as target, worse direction", True, ".3f", trivial="the image as it is"
    ),
    "target_share_a_to_b": Metric("  A classified as B", True, ".3f"),
    "target_share_b_to_a": Metric("  B classified as A", True, ".3f"),
    "cycle_error": Metric(
        "cycle error, mean |x - x''|", False, ".4f", trivial="the image as it is"
    ),
    "correlation_a_to_b": Metric("correlation of A, A to B", None, ".3f"),
    "correlation_b_to_a": Metric("correlation of B, B to A", None, ".3f"),
    "change_a_to_b": Metric("change of A (of its spread)", None, ".3f"),
    "change_b_to_a": Metric("change of B (of its spread)", None, ".3f"),
    # Of generated images, `kid[features]/what generated them`.
    "kid": Metric("KID", False, ".4g"),
    "fid": Metric("FID", False, ".4g"),
    "taken": Metric("classified as target", True, ".3f"),
}
_BY_COLUMN = (
    "accuracy", "absolute_error", "loss", "worst_group_accuracy", "group_gap", "group_variance",
    "outside_groups",
)  # fmt: skip
"""`accuracy_gender` is the accuracy of the attribute `gender`."""


def find(name: str, own: Mapping[str, Metric] | None = None) -> Metric | None:
    """The metric of that name; None if it is not described.

    Args:
        name: such as `accuracy`, `accuracy_gender` or `kid[features]/prior`.
        own: those of the method (`Method.metrics`), which come first.
    """
    if own and name in own:
        return own[name]
    if name in METRICS:
        return METRICS[name]
    of_features = name.partition("[")[0]
    if of_features != name and of_features in METRICS:
        return replace(METRICS[of_features], wording=name)
    for kind in _BY_COLUMN:
        if name.startswith(f"{kind}_"):
            wording = f"{METRICS[kind].wording}, {name.removeprefix(f'{kind}_')}"
            return replace(METRICS[kind], wording=wording, trivial="")
    return None


def describe(name: str, own: Mapping[str, Metric] | None = None) -> Metric:
    """As `find`; a metric that is not described has neither a direction nor a unit."""
    return find(name, own) or Metric(name)


def to_plain(own: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
    """A method's own metrics for summary.json, so that readers need not load the method."""
    return {name: asdict(metric) for name, metric in own.items()}


def metrics_of(summary: Mapping[str, Any]) -> dict[str, Metric]:
    """The method's own metrics, from a run's summary.json."""
    return {name: Metric(**fields) for name, fields in summary.get("metrics", {}).items()}
