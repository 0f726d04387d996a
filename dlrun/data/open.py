"""A data set by its config: read, val split off, statistics of the train split."""

import hashlib
from collections.abc import Mapping

from dlrun.data.bias import FREQUENCY, Biased, biased
from dlrun.data.options import BiasConfig
from dlrun.data.sources.base import SourceConfig, Splits
from dlrun.data.table import LABEL, DataSet, Table, hold_out, no_column, pixel_statistics
from dlrun.errors import UserError
from dlrun.files import cache_folder
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.text import suggest

_MOST_GROUPS = 64  # a table that a person reads


def open_dataset(
    choice: Choice,
    data_dir: str | None,
    bias: BiasConfig | None = None,
    groups: tuple[str, ...] | None = None,
) -> DataSet:
    """The data set of the config, on the CPU.

    Args:
        choice: of the group dataset.
        data_dir: where downloads and decoded images are kept.
        bias: applied to the images once they are split; None: nothing.
        groups: columns whose combinations the test is reported for; None: those that show the bias.

    Raises:
        UserError: it cannot be had or read, or the options do not fit it.
    """
    options: SourceConfig = choice.options
    splits = lookup("dataset", choice.name)().load(options, cache_folder(data_dir))
    _check(choice.name, splits)
    whole = splits.train
    stays, held = hold_out(whole.labels, len(whole), options.val_fraction, "val")
    tables = (whole.subset(stays), whole.subset(held), splits.test)
    checksum = splits.checksum or f"{whole.checksum()[:32]}{splits.test.checksum()[:32]}"
    positive = _positive(options.positive, splits.class_names)
    done = Biased(tables, {}, (), ())
    if bias is not None and bias.active:
        done = biased(tables, len(splits.class_names), bias, choice.name)
        checksum = hashlib.sha256(
            "".join(table.checksum() for table in done.splits).encode()
        ).hexdigest()
    train, val, test = done.splits
    if groups is None:  # those of a class's frequency are of the positives only, or of none
        groups = tuple(name for name in done.groups if name != FREQUENCY or positive is None)
    mean, std = pixel_statistics(train.images)
    data = DataSet(
        name=choice.name,
        train=train,
        val=val,
        test=test,
        class_names=splits.class_names,
        domains=_domains(options.domains, splits.class_names),
        mean=mean,
        std=std,
        checksum=checksum,
        positive=positive,
        groups=_groups(groups, train, splits.doubts),
        value_names={**splits.value_names, **done.value_names},
        report=(*splits.notes, *done.report),
        doubts=splits.doubts,
    )
    count = len(data.combinations()) if data.groups else 0
    if count > _MOST_GROUPS:  # a group of hardly an image says nothing
        raise UserError(
            f"groups: {', '.join(data.groups)} have {count} combinations, expected at most "
            f"{_MOST_GROUPS}"
        )
    return data


def _check(name: str, splits: Splits) -> None:
    """Of a data set of the user's own, which may break the contract. Raises UserError."""
    train, test, classes = splits.train, splits.test, splits.class_names
    if train.images.shape[1:] != test.images.shape[1:]:
        shapes = " and ".join(str(tuple(table.images.shape[1:])) for table in (train, test))
        raise UserError(f"dataset={name}: train and test images differ in shape, {shapes}")
    for table in (train, test):
        if table.labels is not None and not bool(
            ((table.labels >= 0) & (table.labels < len(classes))).all()
        ):
            raise UserError(f"dataset={name}: a label is not in [0, {len(classes)}), the classes")


def _domains(names: tuple[str, str] | None, classes: tuple[str, ...]) -> tuple[int, int] | None:
    if names is None:
        return (0, 1) if len(classes) == 2 else None
    a, b = (_class_of(name, classes, "dataset.domains") for name in names)
    if a == b:
        raise UserError(f"dataset.domains: got {names[0]!r} twice, expected two different classes")
    return a, b


def _positive(name: str | None, classes: tuple[str, ...]) -> int | None:
    """Of two classes the second, as usual for label 1; of more, none that was not asked for."""
    if name is None:
        return 1 if len(classes) == 2 else None
    return _class_of(name, classes, "dataset.positive")


def _class_of(name: str, classes: tuple[str, ...], key: str) -> int:
    if not classes:
        raise UserError(f"{key}: these images have no classes, expected null")
    if name not in classes:
        raise UserError(f"{key}: {name!r} is not one of the classes{suggest(name, list(classes))}")
    return classes.index(name)


def _groups(names: tuple[str, ...], table: Table, doubts: Mapping[str, str]) -> tuple[str, ...]:
    """The columns, all of them there and with classes. Raises UserError."""
    classes = [] if table.labels is None else [LABEL]
    classes += [name for name, column in table.attributes.items() if not column.is_floating_point()]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise UserError(f"groups: got {name!r} twice")
        if name in classes:
            continue
        if name in table.attributes:
            raise UserError(
                f"groups: the column {name!r} holds numbers, expected one with classes"
                f"{': ' if classes else ''}{', '.join(sorted(classes))}"
            )
        raise no_column("groups", name, classes, doubts, "a column with classes")
    return names
