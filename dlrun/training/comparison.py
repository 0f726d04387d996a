"""What a distillation is for: student, teacher, and the student alone, side by side."""

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.evaluation.features import share_equal
from dlrun.evaluation.inference import BATCH, Inference
from dlrun.methods.capabilities import Teaches
from dlrun.training.assemble import Experiment
from dlrun.training.companions import baseline_summary

_ROUNDS = 5


def comparison(
    experiment: Experiment,
    inference: Inference,
    test: dict[str, dict[str, float]],
    taught: Tensor | None,
) -> dict[str, dict[str, Any]] | None:
    """Test accuracy, parameters and measured images a second of each; None without a teacher.

    Args:
        experiment: that was trained.
        inference: its method and data.
        test: the student's numbers on the test split, `last` and `best`.
        taught: what the teacher takes the test images for; None of one without a classifier.
    """
    method, table = inference.method, inference.data.test
    if not isinstance(method, Teaches):
        return None
    speeds = _images_per_second(inference, {"teacher": method.teacher, "student": method.student})
    assert table.labels is not None
    measured = None if taught is None else share_equal(taught, table.labels.cpu())
    rows: dict[str, dict[str, Any]] = {
        "teacher": {"last": measured, "best": measured},
        "student": {kind: test[kind]["accuracy"] for kind in ("last", "best")},
    }
    for name, network in (("teacher", method.teacher), ("student", method.student)):
        rows[name]["parameters"] = sum(p.numel() for p in network.parameters())
        rows[name]["images_per_second"] = round(speeds[name], 1)
    alone = baseline_summary(experiment.config)
    if alone is not None:
        rows["student alone"] = {kind: alone["test"][kind]["accuracy"] for kind in ("last", "best")}
    return rows


def _images_per_second(inference: Inference, networks: dict[str, nn.Module]) -> dict[str, float]:
    """Of forward passes over one batch of test images: the median of a few rounds, in turn."""
    rows = torch.arange(min(BATCH, len(inference.data.test)))
    image = inference.images(inference.data.test, rows)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    with inference.evaluating():
        for number in range(_ROUNDS + 1):
            for name, network in networks.items():
                _wait(image)
                start = time.perf_counter()
                network(image)
                _wait(image)
                if number:  # the first warms up
                    seconds[name].append(time.perf_counter() - start)
    return {name: len(rows) / statistics.median(times) for name, times in seconds.items()}


def _wait(image: torch.Tensor) -> None:
    """Until the device has done what it was given."""
    if image.is_cuda:
        torch.cuda.synchronize()
    elif image.device.type == "mps":
        torch.mps.synchronize()
