"""What each number of an evaluation is called, which way is better, and how it is printed."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metric:
    """One kind of number. `trivial` names the baseline that needs no training."""

    label: str
    higher_is_better: bool | None
    """None: it tells something, but neither way is better."""
    form: str
    trivial: str = ""

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher_is_better]


METRICS = {
    "accuracy": Metric("accuracy", True, ".3f", "the most frequent class"),
    "recall": Metric("recall, of the positives", True, ".3f"),
    "precision": Metric("precision", True, ".3f"),
    "false_positive_rate": Metric("false positive rate", False, ".3f"),
    "worst_group_recall": Metric("worst group's recall", True, ".3f"),
    "worst_group_accuracy": Metric("worst group's accuracy", True, ".3f"),
    "group_gap": Metric("gap between groups", False, ".3f"),
    "group_variance": Metric("variance of groups, pt²", False, ".2f"),
    "outside_groups": Metric("images in no group: a value is missing", None, ".0f"),
    "agreement": Metric("agreement with the teacher", True, ".3f"),
    "knn": Metric("kNN accuracy (k=20)", True, ".3f", "raw pixels"),
    "linear_probe": Metric("linear probe accuracy", True, ".3f", "raw pixels"),
    "margin": Metric("margin loss", False, ".4f"),
    "reconstruction": Metric("squared error, summed over an image", False, ".2f"),
    "recall_at_1": Metric("recall@1", True, ".3f", "raw pixels"),
    "recall_at_5": Metric("recall@5", True, ".3f", "raw pixels"),
    "mean_average_precision": Metric("mAP", True, ".3f", "raw pixels"),
    "probe_accuracy": Metric("online probe accuracy", True, ".3f"),
    "projection_std": Metric("std of projections", None, ".4f"),
    "projection_rank": Metric("effective rank of projections", None, ".1f"),
    "reconstruction_error": Metric("reconstruction MSE", False, ".4f", "the mean image"),
    "squared_error": Metric(
        "squared error of an image", False, ".2f", "as many principal components"
    ),
    "negative_log_likelihood": Metric(
        "-log p(x), nats an image", False, ".2f", "independent pixels"
    ),
    "negative_log_density": Metric(
        "-log p(x), a density, nats an image", False, ".2f", "probabilistic PCA"
    ),
    "bits_per_dimension": Metric("bits a pixel", False, ".4f", "independent pixels"),
    "active_units": Metric("active units of the code", None, ".0f"),
    "negative_elbo": Metric("-ELBO, nats an image", False, ".1f"),
    "kl": Metric("KL term, nats an image", None, ".1f"),
    "absolute_error": Metric("absolute error", False, ".4g"),
    "loss": Metric("loss", False, ".4f"),
    "target_share": Metric("taken for target, worse way", True, ".3f", "the image as it is"),
    "target_share_a_to_b": Metric("  A taken for B", True, ".3f"),
    "target_share_b_to_a": Metric("  B taken for A", True, ".3f"),
    "cycle_error": Metric("cycle error, mean |x - x''|", False, ".4f", "the image as it is"),
    "correlation_a_to_b": Metric("correlation of A, A to B", None, ".3f"),
    "correlation_b_to_a": Metric("correlation of B, B to A", None, ".3f"),
    "change_a_to_b": Metric("change of A (of its spread)", None, ".3f"),
    "change_b_to_a": Metric("change of B (of its spread)", None, ".3f"),
    # Of made images, `kid[features]/what made them`.
    "kid": Metric("KID", False, ".4g"),
    "fid": Metric("FID", False, ".4g"),
    "taken": Metric("taken for target", True, ".3f"),
}


def describe(name: str) -> Metric:
    """The metric of that name; an unknown one, of a user's own method, is better when lower.

    `accuracy_gender` is the accuracy of the attribute `gender`; `kid[features]/prior` is a KID.
    """
    if name in METRICS:
        return METRICS[name]
    of_features = name.partition("[")[0]
    if of_features != name and of_features in METRICS:
        return replace(METRICS[of_features], label=name)
    for kind in ("accuracy", "absolute_error", "loss"):
        if name.startswith(f"{kind}_"):
            label = f"{METRICS[kind].label}, {name.removeprefix(f'{kind}_')}"
            return replace(METRICS[kind], label=label, trivial="")
    return Metric(name, False, ".4g")


def better(name: str, new: float, old: float | None) -> bool:
    """Whether `new` is an improvement; the first always is, NaN never."""
    if new != new:
        return False
    if old is None:
        return True
    return new > old if describe(name).higher_is_better else new < old
