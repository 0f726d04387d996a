"""The data set of a trained model, or another one with its image shape and class numbers."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dlrun.config.typed import Typed
from dlrun.data.info import DataInfo, facts_of, info_of
from dlrun.data.open import open_dataset
from dlrun.data.options import BiasConfig
from dlrun.data.table import DataSet, Table
from dlrun.errors import ConfigError, UserError
from dlrun.methods.abilities import Predicts, PredictsTasks, TaskSpec, Translates
from dlrun.runs.provenance import change
from dlrun.use.model import LABEL, TrainedModel


def open_data(
    model: TrainedModel, overrides: Sequence[str] = (), data_dir: str | None = None
) -> tuple[DataSet, bool]:
    """The data set that a run was trained on, or another one with images of the same shape.

    Args:
        model: of the run.
        overrides: dataset=NAME, dataset.KEY=VALUE and data_dir=FOLDER. Images are brought to the
            model's size, unless a size is given or the data set cannot be resized.
        data_dir: the folder of the data; None: that of `overrides`, else that of the training.

    Returns:
        The data set, and whether its images and splits are those of the training.

    Raises:
        ConfigError: as for training.
        UserError: it cannot be opened, its images have another shape, or it is the model's own and
            has changed since.
    """
    keys = [word.lstrip("+").partition("=")[0] for word in overrides]
    is_other = any(key == "dataset" or "@" in key for key in keys)
    section, folder = _section(model.config, overrides, is_other)
    channels, height, width = model.image_shape
    for key, value in (("size", height), ("channels", channels), ("bits", model.info.bits)):
        if key in section and f"dataset.{key}" not in keys and height == width:
            section = {**section, key: value}
    tasks = model.method.tasks if isinstance(model.method, PredictsTasks) else ()
    if is_other and tasks and section.get("attributes") is not None:  # as they were learnt
        for key, is_kind in (("numbers", False), ("categories", True)):
            names = [task.name for task in tasks if bool(task.classes) == is_kind]
            section = {**section, key: [name for name in names if name != LABEL]}
    typed = Typed(own_code=is_other or not model.is_file)  # else the file names it
    choice = typed.choice("dataset", section, "dataset")
    bias = typed.build(BiasConfig, model.config["bias"], "bias")
    groups = model.config["groups"]
    if typed.problems:
        raise ConfigError(typed.problems)
    # Another data set is taken as it is.
    changed = () if is_other else (bias, groups and tuple(groups))
    data = open_dataset(choice, data_dir or folder, *changed)
    if data.image_shape != model.image_shape:
        own, known = (
            " x ".join(map(str, shape)) for shape in (data.image_shape, model.image_shape)
        )
        raise UserError(
            f"dataset={choice.name}: its images are {own}, those of {model.source} {known}"
        )
    if (now := difference(model.info, data)) and not overrides:
        raise UserError(
            f"dataset={choice.name}: not the data of {model.source} any more ({now}); "
            "to evaluate on what is there now, say so: dataset.KEY=VALUE, such as dataset.root"
        )
    is_same_split = section["val_fraction"] == model.config["dataset"]["val_fraction"]
    return data, is_same_split and data.checksum == model.info.checksum


def difference(info: DataInfo, data: DataSet) -> str:
    """How `data` differs from what was trained on, for people; '' where it is the same."""
    return change(facts_of(info, {}), facts_of(info_of(data), {}))


def _section(
    config: dict[str, Any], overrides: Sequence[str], is_other: bool
) -> tuple[dict[str, Any], str | None]:
    """The plain options of the data set, and the folder of the data."""
    if not overrides:
        return config["dataset"], config.get("data_dir")

    from dlrun.config.compose import compose_plain, composer, user_config_dir
    from dlrun.config.values import set_values

    if is_other:
        plain = compose_plain(list(overrides), user_config_dir())
        return plain["dataset"], plain["data_dir"] or config.get("data_dir")
    changed = {"dataset": deepcopy(config["dataset"]), "data_dir": config.get("data_dir")}
    with composer() as own:
        parsed, problems = own.parse(overrides)
    problems += set_values(changed, parsed)
    if problems:
        raise ConfigError(problems)
    return changed["dataset"], changed["data_dir"]


def matched(model: TrainedModel, data: DataSet) -> tuple[DataSet, bool]:
    """`data` with the model's class numbers, and whether its classes are the model's.

    Classes, and the values of further columns that the model predicts, are matched by name.

    Raises:
        UserError: the model does not know a class or a value, or a column is missing.
    """
    if isinstance(model.method, PredictsTasks) and data.checksum != model.info.checksum:
        tasks = [task for task in model.method.tasks if task.name != LABEL]
        missing = [task.name for task in tasks if task.name not in data.train.attributes]
        if missing:
            raise UserError(
                f"{data.name}: has no column {', '.join(missing)}, which {model.source} predicts"
            )
        for task in tasks:
            data = _match_column(data, task, model)
    if isinstance(model.method, Translates) and data.domains is not None:
        return _renumbered(data, _domain_labels(data, data.domains, model), model), True
    known = model.class_names
    if data.class_names == known:
        return data, True
    if data.class_names and set(data.class_names) <= set(known):
        numbers = {label: known.index(name) for label, name in enumerate(data.class_names)}
        return _renumbered(data, numbers, model), True
    if isinstance(model.method, Predicts) and model.method.classifies:
        names = [", ".join(names[:3]) or "none" for names in (data.class_names, known)]
        raise UserError(
            f"{data.name}: its classes ({names[0]} ...) are not among those of {model.source} "
            f"({names[1]} ...)"
        )
    return data, not known


def _match_column(data: DataSet, task: TaskSpec, model: TrainedModel) -> DataSet:
    """`data` with the model's numbers for the named values of a column.

    Raises:
        UserError: the model does not know one of its values.
    """
    name = task.name
    known, given = (names.get(name, ()) for names in (model.info.value_names, data.value_names))
    unknown = sorted(set(given) - set(known))
    if known and not given:
        unknown = ["numbers"]
    elif not given and task.classes is not None:
        tables = (data.train, data.val, data.test)
        column = torch.cat([table.attributes[name] for table in tables if len(table)])
        if column.is_floating_point():
            unknown = ["numbers"]
        elif (largest := int(column.max())) >= task.classes:
            unknown = [str(largest)]
    if unknown:
        raise UserError(
            f"{data.name}: column {name} has {', '.join(unknown[:3])}; {model.source} knows "
            f"{', '.join(known[:3]) or task.classes or 'numbers'}"
        )
    if given == known:
        return data
    numbers = {old: known.index(value) for old, value in enumerate(given)}

    def matched(table: Table) -> Table:
        column = _mapped(table.attributes[name], numbers)
        return replace(table, attributes=table.attributes | {name: column})

    value_names = {**data.value_names, name: known}
    return replace(
        data, train=matched(data.train), val=matched(data.val), test=matched(data.test),
        value_names=value_names,
    )  # fmt: skip


def _domain_labels(data: DataSet, labels: tuple[int, int], model: TrainedModel) -> dict[int, int]:
    """The model's label of each domain: by name if both are the model's, else A is A and B is B.

    Raises:
        UserError: one has the name of the model's other domain.
    """
    names = [data.class_names[label] for label in labels]
    known = {domain.name: domain.label for domain in model.info.domains}
    if set(names) == set(known):
        return {label: known[name] for label, name in zip(labels, names, strict=True)}
    for name, other in zip(names, reversed(known), strict=True):
        if name == other:
            raise UserError(
                f"{data.name}: its domains are {' and '.join(names)}, those of {model.source} "
                f"{' and '.join(known)}; swap them, so that {name} is the same one"
            )
    return dict(zip(labels, known.values(), strict=True))


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
