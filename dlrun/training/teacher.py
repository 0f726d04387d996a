"""A teacher: measured again before training starts, and compared with its student at the end."""

import math
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.evaluation.evaluate import teacher_predictions
from dlrun.evaluation.features import share_equal
from dlrun.evaluation.inference import Inference, batch_of
from dlrun.methods.hooks import HasTeacher
from dlrun.training.hardware import synchronize

_ROUNDS = 5  # of timing
_TOLERANCE = 0.01  # another precision or machine turns a few images in a thousand
_STANDARD_ERRORS = 3  # where the val images are not those of the recording


def verify_teacher(inference: Inference) -> str | None:
    """Measures the teacher on val and compares that with what was recorded when it was saved.

    On the same val images the two must agree. On others it may be better, as it may have been
    trained on some of them, but not worse than chance explains.

    Returns:
        A line for people, or None where there is no teacher with a classifier.

    Raises:
        UserError: they disagree.
    """
    method, table = inference.method, inference.data.val
    if not isinstance(method, HasTeacher):
        return None
    recorded, source = method.source.accuracy, method.source
    if not len(table) or recorded is None:
        reason = "there is no val split" if recorded is not None else "none was recorded"
        return f"teacher: its accuracy was not measured again, {reason}"
    taught = teacher_predictions(inference, table)
    if taught is None or table.labels is None:
        return None
    measured = share_equal(taught, table.labels.cpu())
    there = source.info.checksum if source.info else None
    same_split = source.same_options and there == inference.data.checksum
    slack = _TOLERANCE
    if not same_split:
        slack += _STANDARD_ERRORS * math.sqrt(recorded * (1 - recorded) / len(table))
    wrong = measured < recorded - slack or (same_split and measured > recorded + slack)
    if wrong:
        raise UserError(
            f"method.teacher={source.source}: has an accuracy of {measured:.4f} on the val split "
            f"here, {recorded:.4f} was recorded when it was trained; it is not the same network or "
            "does not see the same images"
        )
    same = "" if same_split else ", on other val images"
    return f"teacher: val accuracy {measured:.4f}, {recorded:.4f} when it was trained{same}"


def side_by_side(
    inference: Inference,
    test: dict[str, dict[str, float]],
    alone: dict[str, dict[str, float]] | None,
    taught: Tensor | None,
) -> dict[str, dict[str, Any]] | None:
    """Test accuracy, parameters and measured images/s of each network; None without a teacher.

    Args:
        inference: the trained method and its data.
        test: the student's numbers on the test split, `last` and `best`.
        alone: those of the student that has learnt without a teacher, where there is one.
        taught: the classes (N,) that the teacher predicts; None of one without a classifier.
    """
    method, table = inference.method, inference.data.test
    if not isinstance(method, HasTeacher):
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
    if alone is not None:
        rows["student alone"] = {kind: alone[kind].get("accuracy") for kind in ("last", "best")}
    return rows


def _images_per_second(inference: Inference, networks: dict[str, nn.Module]) -> dict[str, float]:
    """Of forward passes over one batch of test images: the median of a few rounds, in turn."""
    size = batch_of(*inference.data.image_shape[1:])
    rows = torch.arange(min(size, len(inference.data.test)))
    image = inference.images(inference.data.test, rows)
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    with inference.evaluating():
        for number in range(_ROUNDS + 1):
            for name, network in networks.items():
                synchronize(inference.device)
                start = time.perf_counter()
                network(image)
                synchronize(inference.device)
                if number:  # the first warms up
                    seconds[name].append(time.perf_counter() - start)
    return {name: len(rows) / statistics.median(times) for name, times in seconds.items()}
