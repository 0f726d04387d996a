"""Which rows of a table are of a domain, or of the positive class."""

import torch
from torch import Tensor

from dlrun.data.table import DataSet, Table
from dlrun.errors import UserError


def domain_rows(data: DataSet, split: str = "train") -> tuple[Tensor, Tensor]:
    """The rows of the two domains in a split, int64 each.

    Raises:
        UserError: the data set does not say which two, or one of them is empty.
    """
    if data.domains is None:
        raise UserError(
            f"dataset={data.name}: an unpaired method needs two domains; give two class names, "
            f"dataset.domains=[...,...], from {', '.join(data.class_names) or 'class folders'}"
        )
    labels = getattr(data, split).labels
    rows = tuple((labels == domain).nonzero()[:, 0].cpu() for domain in data.domains)
    for domain, found in zip(data.domains, rows, strict=True):
        if not len(found):
            raise UserError(
                f"dataset={data.name}: no {split} image of domain {data.class_names[domain]}"
            )
    return rows[0], rows[1]


def positive_rows(table: Table, positive: int | None) -> tuple[Tensor, Tensor]:
    """The rows of the positive class and all others, int64 each; all and none where none is.

    Raises:
        UserError: no image is positive.
    """
    labels = table.labels
    if positive is None or labels is None:
        rows = torch.arange(len(table), device=table.images.device)
        return rows, rows[:0]
    found = (labels == positive).nonzero()[:, 0], (labels != positive).nonzero()[:, 0]
    if not len(found[0]):
        raise UserError("dataset.positive: no train image is of that class")
    return found
