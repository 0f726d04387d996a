"""Biased data sets: a long tail, and an attribute that gives the class away in train only.

A wrapper over any labelled table, applied after the split; all of it is a function of the images
and of `bias.seed`. Counts are met exactly instead of on average.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dlrun.data.bias_options import BiasConfig
from dlrun.data.spurious import Attribute, attribute_of
from dlrun.data.table import Table
from dlrun.errors import UserError
from dlrun.randomness import permutation

ALIGNED, FREQUENCY = "aligned", "frequency"
ALIGNED_NAMES, FREQUENCY_NAMES = ("no", "yes"), ("few", "medium", "many")


@dataclass(frozen=True)
class Biased:
    """The three splits after the bias, in the order train, val, test.

    `value_names` are those of the columns that it adds; `groups` are the columns that show what it
    does; `report` says it to people.
    """

    splits: tuple[Table, Table, Table]
    value_names: dict[str, tuple[str, ...]]
    groups: tuple[str, ...]
    report: tuple[str, ...]


def biased(
    splits: tuple[Table, Table, Table], num_classes: int, options: BiasConfig, name: str
) -> Biased:
    """Train as `options` say, test free of it, val like one of the two.

    Args:
        splits: train, val and test.
        num_classes: of all splits.
        options: with something to do.
        name: of the data set, for errors.

    Raises:
        UserError: there are no two classes to tie it to, or a column of its name is there already.
    """
    if splits[0].labels is None or num_classes < 2:
        raise UserError(
            f"bias: dataset={name} has no classes that it could be tied to, expected two or more; "
            "choose bias=none"
        )
    value_names: dict[str, tuple[str, ...]] = {}
    groups: tuple[str, ...] = ()
    report = []
    if options.imbalance > 1:
        splits = _long_tailed(splits, num_classes, options)
        value_names[FREQUENCY], groups = FREQUENCY_NAMES, (FREQUENCY,)
        assert splits[0].labels is not None
        counts = splits[0].labels.bincount(minlength=num_classes)
        report.append(
            f"bias: {int(counts.max()):,} train images of the most frequent class, "
            f"{int(counts.min()):,} of the least"
        )
    if options.attribute is not None:
        attribute = attribute_of(options.attribute, num_classes, splits[0].images.shape[1:])
        splits = _tied(splits, attribute, options)
        value_names |= {options.attribute: attribute.value_names, ALIGNED: ALIGNED_NAMES}
        groups = (*groups, ALIGNED)
        count = len(attribute.value_names)
        report.append(
            f"bias: {options.attribute}, one of {count}, is the class's own in "
            f"{options.strength:.4g} of train, in {1 / count:.4g} of test; "
            f"val is like {options.val}"
        )
    return Biased(splits, value_names, groups, tuple(report))


def _long_tailed(
    splits: tuple[Table, Table, Table], num_classes: int, options: BiasConfig
) -> tuple[Table, Table, Table]:
    """Train thinned; val and test keep all of their images. A column says how frequent a class is.

    Val has too few images of a class to be thinned as well and still to choose an epoch.
    """
    train, val, test = splits
    assert train.labels is not None
    train = train.subset(tail_rows(train.labels, num_classes, options.imbalance, options.seed))
    place = torch.arange(num_classes) / (num_classes - 1)
    frequency = ((1 - place) * (len(FREQUENCY_NAMES) - 1)).round().long()
    return (
        _with(train, FREQUENCY, frequency[train.labels]),
        _with(val, FREQUENCY, frequency[_labels(val)]),
        _with(test, FREQUENCY, frequency[_labels(test)]),
    )


def tail_rows(labels: Tensor, num_classes: int, imbalance: float, seed: int) -> Tensor:
    """The rows that stay, sorted, int64.

    Class c keeps n imbalance^(-c/(K-1)) images (Cui et al. 2019, arXiv 1901.05555, section 5.1),
    at least one, n being the largest for which no class lacks any.
    """
    counts = labels.bincount(minlength=num_classes).double()
    share = imbalance ** (-torch.arange(num_classes).double() / (num_classes - 1))
    present = counts > 0
    most = float((counts / share)[present].min())
    kept = []
    for c in present.nonzero()[:, 0].tolist():
        rows = (labels == c).nonzero()[:, 0]
        count = max(1, round(most * float(share[c])))
        kept.append(rows[permutation(len(rows), seed, "bias", "long tail", c)[:count]])
    return torch.cat(kept).sort().values


def _tied(
    splits: tuple[Table, Table, Table], attribute: Attribute, options: BiasConfig
) -> tuple[Table, Table, Table]:
    tied = []
    for split, table in zip(("train", "val", "test"), splits, strict=True):
        like_train = split == "train" or (split == "val" and options.val == "train")
        strength = options.strength if like_train else None
        labels, count = _labels(table), len(attribute.value_names)
        values = tied_values(labels, count, strength, options.seed, split)
        table = _with(table, attribute.name, values)
        table = _with(table, ALIGNED, (values == labels % count).long())
        tied.append(replace(table, images=attribute.draw(table.images, values)))
    return tied[0], tied[1], tied[2]


def tied_values(
    labels: Tensor, count: int, strength: float | None, seed: int, split: str
) -> Tensor:
    """The attribute of each image, int64 (N,) in [0, count); class c's own is c mod count.

    Of each class the share `strength` has its own, the others have the rest in equal parts; None:
    all values in equal parts. Which image has which is drawn.
    """
    values = torch.empty_like(labels)
    for c in labels.unique().tolist():
        rows = (labels == c).nonzero()[:, 0]
        rows = rows[permutation(len(rows), seed, "bias", split, c)]
        turn = torch.arange(len(rows))
        if strength is not None:
            own = round(strength * len(rows))
            turn = torch.where(turn < own, 0, 1 + (turn - own) % (count - 1))
        values[rows] = (c + turn) % count
    return values


def _labels(table: Table) -> Tensor:
    assert table.labels is not None
    return table.labels


def _with(table: Table, name: str, column: Tensor) -> Table:
    if name in table.attributes:
        raise UserError(
            f"bias: the data set has a column {name!r} already, which the bias would add; rename it"
        )
    return replace(table, attributes={**table.attributes, name: column})
