"""A teacher is measured again before anything is learnt from it."""

import math

from dlrun.errors import UserError
from dlrun.evaluation.evaluate import taught_classes
from dlrun.evaluation.features import share_equal
from dlrun.evaluation.inference import Inference
from dlrun.methods.capabilities import Teaches

_TOLERANCE = 0.01  # another precision or machine turns a few images in a thousand
_STANDARD_ERRORS = 3  # where the val images are others than those of the record


def verify_teacher(inference: Inference) -> str | None:
    """Measures the teacher on val and holds it against what was recorded when it was saved.

    On the same val images the two must agree. On others it may be better, as it may have been
    trained on some of them, but not worse than chance explains.

    Returns:
        A line for people, or None where there is no teacher with a classifier.

    Raises:
        UserError: they do not agree.
    """
    method, table = inference.method, inference.data.val
    if not isinstance(method, Teaches):
        return None
    recorded, source = method.source.accuracy, method.source
    if not len(table) or recorded is None:
        reason = "there is no val split" if recorded is not None else "none was recorded"
        return f"teacher: its accuracy was not measured again, {reason}"
    taught = taught_classes(inference, table)
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
