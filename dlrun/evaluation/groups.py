"""How a classifier does on each group of the images: a mean hides whom it fails.

A group is a combination of values of the columns `groups`. Where a class counts as positive, a
group's figure is its recall, the share of its positives that are taken for positive; where none
does, its accuracy. Precision and the false positive rate stand beside recall, since a classifier
that says yes more often raises it too.
"""

import math

import torch
from torch import Tensor

from dlrun.data.table import DataSet, Table

PREFIX = "group/"
"""Numbers of a single group are called group/NAME/KIND: for summary.json and a table of its own."""
_Z = 1.959963984540054  # of a normal distribution, 95% lie within


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share, Wilson 1927: n of 1 and more, within [0, 1]."""
    share, z2 = successes / n, _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def group_numbers(data: DataSet, table: Table, predicted: Tensor, full: bool) -> dict[str, float]:
    """Of int64 classes `predicted` (N,) for the images of `table`; nothing without groups.

    `worst_group_recall` (or `_accuracy`), `group_gap` from the best to the worst, both shares, and
    `group_variance` over groups, in squared points of a hundred, with n - 1, as papers give it.
    Each group's own numbers only if `thorough`. A group without images has an `n` of 0 and no more;
    an image of which a column is not known is in no group; `outside_groups` counts them, where
    there are any among those that recall (or accuracy) is of.
    """
    if not data.groups or table.labels is None:
        return {}
    labels, predicted = table.labels.cpu(), predicted.cpu()
    positive = data.positive
    measure = "accuracy" if positive is None else "recall"
    if positive is None:
        wanted, right = torch.ones_like(labels).bool(), predicted == labels
    else:
        wanted, right = labels == positive, predicted == positive
    columns = torch.stack([table.attributes[name].cpu() for name in data.groups], 1)
    each, outside = {}, wanted.clone()
    for values in data.combinations():
        group = (columns == values).all(1)
        each[_name(data, values)] = _of_group(measure, right, wanted, group)
        outside &= ~group
    found = {} if positive is None else _of_yes(right, wanted, ~wanted)
    found |= _over_groups(measure, [group[measure] for group in each.values() if group["n"]])
    if not full:
        kept = ("recall", "false_positive_rate", f"worst_group_{measure}")
        return {name: value for name, value in found.items() if name in kept}
    if outside.any():
        found["outside_groups"] = int(outside.sum())
    for name, numbers in each.items():
        found |= {f"{PREFIX}{name}/{kind}": value for kind, value in numbers.items()}
    return found


def _name(data: DataSet, values: Tensor) -> str:
    """'gender=female race=2', of the values of each column (C,)."""
    parts = []
    for column, value in zip(data.groups, values.tolist(), strict=True):
        names = data.value_names.get(column)
        parts.append(f"{column}={names[value] if names else value}")
    return " ".join(parts)


def _of_group(measure: str, right: Tensor, wanted: Tensor, group: Tensor) -> dict[str, float]:
    """One group's numbers; each is left out where there is nothing to divide by.

    Of a group without negatives, as where only positives have the column, precision would be 1
    whatever the classifier does; it is left out too.
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
            numbers |= _of_yes(right, inside, rest)
    return numbers


def _of_yes(yes: Tensor, wanted: Tensor, rest: Tensor) -> dict[str, float]:
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
