"""Another data set in the terms of a trained model: its numbers for classes and words."""

from dataclasses import replace

import torch
from torch import Tensor

from dlrun.data.table import DataSet, Table
from dlrun.errors import UserError
from dlrun.methods.abilities import Predicts, PredictsTasks, TaskSpec, Translates
from dlrun.use.model import TrainedModel
from dlrun.use.prediction import LABEL


def matched(model: TrainedModel, data: DataSet) -> tuple[DataSet, bool]:
    """`data` with the model's class numbers, and whether its classes are the model's.

    Classes, and the words of further columns that were learnt, are matched by name.

    Raises:
        UserError: it has classes that the model does not know, or lacks a column.
    """
    if isinstance(model.method, PredictsTasks) and data.checksum != model.info.checksum:
        tasks = [task for task in model.method.tasks if task.name != LABEL]
        lacking = [task.name for task in tasks if task.name not in data.train.attributes]
        if lacking:
            raise UserError(f"{data.name}: lacks {', '.join(lacking)}, which was learnt")
        for task in tasks:
            data = _reworded(data, task, model)
    if isinstance(model.method, Translates) and data.domains is not None:
        return _renumbered(data, _of_domains(data, data.domains, model), model), True
    known = model.class_names
    if data.class_names == known:
        return data, True
    if data.class_names and set(data.class_names) <= set(known):
        numbers = {place: known.index(name) for place, name in enumerate(data.class_names)}
        return _renumbered(data, numbers, model), True
    if isinstance(model.method, Predicts) and model.method.classifies:
        names = [", ".join(names[:3]) or "none" for names in (data.class_names, known)]
        raise UserError(
            f"{data.name}: its classes ({names[0]} ...) are not among those that {model.source} "
            f"knows ({names[1]} ...)"
        )
    return data, not known


def _reworded(data: DataSet, task: TaskSpec, model: TrainedModel) -> DataSet:
    """`data` with the model's numbers for the words of a column.

    Raises:
        UserError: the column has values that the model does not know.
    """
    name = task.name
    known, words = model.info.words.get(name, ()), data.words.get(name, ())
    tables = {split: getattr(data, split) for split in ("train", "val", "test")}
    columns = [table.attributes[name] for table in tables.values() if len(table)]
    strange = sorted(set(words) - set(known))
    if not (words or known) and task.classes is not None:
        if any(column.is_floating_point() for column in columns):
            strange = ["numbers"]
        elif (largest := max(int(column.max()) for column in columns)) >= task.classes:
            strange = [str(largest)]
    elif known and not words:
        strange = ["numbers"]
    if strange:
        raise UserError(
            f"{data.name}: its {name} has {', '.join(strange[:3])}, {model.source} knows "
            f"{', '.join(known[:3]) or task.classes or 'numbers'}"
        )
    if words == known:
        return data
    numbers = {place: known.index(word) for place, word in enumerate(words)}
    changed = {
        split: replace(table, attributes=table.attributes | {name: _mapped(column, numbers)})
        for split, table in tables.items()
        for column in (table.attributes[name],)
    }
    return replace(data, **changed, words={**data.words, name: known})


def _of_domains(data: DataSet, places: tuple[int, int], model: TrainedModel) -> dict[int, int]:
    """By name where the two are the model's in either order, else A for A and B for B.

    Raises:
        UserError: one has the name of the model's other domain.
    """
    names = [data.class_names[place] for place in places]
    known = {domain.name: domain.label for domain in model.info.domains}
    if set(names) == set(known):
        return {place: known[name] for place, name in zip(places, names, strict=True)}
    for name, other in zip(names, reversed(known), strict=True):
        if name == other:
            raise UserError(
                f"{data.name}: its domains are {' and '.join(names)}, {model.source} has learnt "
                f"{' and '.join(known)}; give {name} the other place"
            )
    return dict(zip(places, known.values(), strict=True))


def _renumbered(data: DataSet, numbers: dict[int, int], model: TrainedModel) -> DataSet:
    def table(of: Table) -> Table:
        return of if of.labels is None else replace(of, labels=_mapped(of.labels, numbers))

    domains = [domain.label for domain in model.info.domains]
    return replace(
        data, train=table(data.train), val=table(data.val), test=table(data.test),
        class_names=model.class_names, domains=(domains[0], domains[1]) if domains else None,
    )  # fmt: skip


def _mapped(labels: Tensor, numbers: dict[int, int]) -> Tensor:
    mapped = torch.full_like(labels, -1)
    for old, new in numbers.items():
        mapped[labels == old] = new
    return mapped
