"""How a classifier does on each group of images: a mean hides whom it fails.

A group is a combination of values of the columns `groups`. Its number is its recall if a class
counts as positive, else its accuracy. Precision and the false positive rate go with recall, since
a classifier that says yes more often raises it too.
"""

import math

import torch
from torch import Tensor

from dlrun.data.table import LABEL, DataSet, Table

PREFIX = "group/"
"""The numbers of a single group are called group/NAME/KIND."""
_Z = 1.959963984540054  # standard deviations that hold 95% of a normal distribution


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95% interval of a fraction, in [0, 1], of n >= 1 trials (Wilson 1927)."""
    share, z2 = successes / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def group_numbers(
    data: DataSet, table: Table, predicted: Tensor, full: bool, task: str = LABEL
) -> dict[str, float]:
    """Of int64 classes `predicted` (N,) for the images of `table`; {} without groups.

    `task` is what was predicted: the label, or a column whose known values count; its name ends
    those of its numbers, and begins those of its groups. A positive class is one of the label, and
    does not count where the label itself makes the groups.

    `worst_group_recall` (or `_accuracy`) and `group_gap`, best minus worst, are fractions;
    `group_variance` over the groups, with n - 1, is in squared percentage points, as in papers.
    Each group's own numbers only if `full`; a group without images has `n`, 0, and nothing else.
    `outside_groups` counts the images that recall (or accuracy) is measured on and that are in no
    group because a value is missing, if there are any.
    """
    if not data.groups or (task == LABEL and table.labels is None):
        return {}
    labels, predicted = table.column(task).cpu(), predicted.cpu()
    positive = data.positive if task == LABEL and LABEL not in data.groups else None
    measure = "accuracy" if positive is None else "recall"
    if positive is None:
        wanted, right = labels >= 0, predicted == labels
    else:
        wanted, right = labels == positive, predicted == positive
    columns = torch.stack([table.column(name).cpu() for name in data.groups], 1)
    before, after = ("", "") if task == LABEL else (f"{task}: ", f"_{task}")
    each, outside = {}, wanted.clone()
    for values in data.combinations():
        group = (columns == values).all(1)
        each[before + _name(data, values)] = _of_group(measure, right, wanted, group)
        outside &= ~group
    found = {} if positive is None else _of_positives(right, wanted, ~wanted)
    found |= _over_groups(measure, [group[measure] for group in each.values() if group["n"]])
    if not full:
        kept = ("recall", "false_positive_rate", f"worst_group_{measure}")
        found = {name: value for name, value in found.items() if name in kept}
    elif outside.any():
        found["outside_groups"] = int(outside.sum())
    found = {f"{name}{after}": value for name, value in found.items()}
    if not full:
        return found
    for name, numbers in each.items():
        found |= {f"{PREFIX}{name}/{kind}": value for kind, value in numbers.items()}
    return found


def _name(data: DataSet, values: Tensor) -> str:
    """Such as 'gender=female race=2', from the value of each column (C,)."""
    parts = []
    for column, value in zip(data.groups, values.tolist(), strict=True):
        names = data.class_names if column == LABEL else data.value_names.get(column)
        parts.append(f"{column}={names[value] if names else value}")
    return " ".join(parts)


def _of_group(measure: str, right: Tensor, wanted: Tensor, group: Tensor) -> dict[str, float]:
    """One group's numbers; each is left out if it would be a division by zero.

    So is precision without negatives, as when only positives have the column: it is always 1.
    """
    inside, rest = group & wanted, group & ~wanted
    n, good = int(inside.sum()), int((right & inside).sum())
    numbers: dict[str, float] = {"n": n}
    if n:
        low, high = wilson(good, n)
        numbers |= {measure: good / n, "low": low, "high": high}
    if measure == "recall":
        numbers["negatives"] = int(rest.sum())
        if rest.any():
            numbers |= _of_positives(right, inside, rest)
    return numbers


def _of_positives(yes: Tensor, wanted: Tensor, rest: Tensor) -> dict[str, float]:
    """Recall, precision and false positive rate, of bool (N,) each."""
    true, false = int((yes & wanted).sum()), int((yes & rest).sum())
    found = {}
    if wanted.any():
        found["recall"] = true / int(wanted.sum())
    if true + false:
        found["precision"] = true / (true + false)
    if rest.any():
        found["false_positive_rate"] = false / int(rest.sum())
    return found


def _over_groups(measure: str, shares: list[float]) -> dict[str, float]:
    if not shares:
        return {}
    found = {f"worst_group_{measure}": min(shares)}
    if len(shares) > 1:
        found["group_gap"] = max(shares) - min(shares)
        found["group_variance"] = float((100 * torch.tensor(shares).double()).var())
    return found
