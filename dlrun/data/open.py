"""A data set by its config: read, val split off, statistics of the train split."""

import hashlib
from collections.abc import Mapping

import torch

from dlrun.data.bias import FREQUENCY, Biased, biased
from dlrun.data.options import BiasConfig
from dlrun.data.sources.base import SourceConfig, Splits
from dlrun.data.table import LABEL, DataSet, Table, hold_out, no_column, pixel_statistics
from dlrun.errors import CodeError, UserError
from dlrun.files import cache_folder
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.text import given, printable, suggest

_MOST_GROUPS = 64  # a table that a person reads
_MOST_CLASSES = 10  # in a line


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
    source = lookup("dataset", choice.name)()
    splits = source.load(options, cache_folder(data_dir))
    if wrong := _wrong(splits):
        raise CodeError(f"load() returned {wrong}", source.load)
    tables = _three(splits, options.val_fraction)
    checksum = splits.checksum or "".join(
        table.checksum()[:32] for table in (splits.train, splits.val, splits.test) if table
    )
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
        bits=splits.bits,
        report=(understood(splits, tables), *splits.notes, *done.report),
        doubts=splits.doubts,
        mirror=source.mirrors(options),
    )
    count = len(data.combinations()) if data.groups else 0
    if count > _MOST_GROUPS:  # a group of hardly an image says nothing
        raise UserError(
            f"groups: {', '.join(data.groups)} have {count} combinations, expected at most "
            f"{_MOST_GROUPS}"
        )
    return data


def _three(splits: Splits, val_fraction: float) -> tuple[Table, Table, Table]:
    """Train, val and test; val is held out of train where the data set has none."""
    whole = splits.train
    if splits.val is not None:
        return whole, splits.val, splits.test
    stays, held = hold_out(whole.labels, len(whole), val_fraction, "val")
    stay = whole.subset(stays) if len(held) else whole
    return stay, whole.subset(held), splits.test


def understood(splits: Splits, tables: tuple[Table, Table, Table]) -> str:
    """In a line, what a data set was taken for.

    Its classes, with the images of each in train and what is held out of it; where val and test are
    from; and what was not read.
    """
    names, labels = splits.class_names, splits.train.labels
    held = splits.test.labels if splits.held_out else None
    total = len(splits.train) + (len(splits.test) if splits.held_out else 0)
    parts = [f"{total:,} images without classes"]
    if names and labels is not None:
        counts = (labels if held is None else torch.cat([labels, held])).bincount().tolist()
        listed = [f"{printable(name)} ({n:,})" for name, n in zip(names, counts, strict=False)]
        more = f" and {len(names) - _MOST_CLASSES:,} more" if len(names) > _MOST_CLASSES else ""
        parts = [f"classes: {', '.join(listed[:_MOST_CLASSES])}{more}"]
    is_own = {"val": splits.val is not None, "test": not splits.held_out}
    for split, table in (("val", tables[1]), ("test", tables[2])):
        where = splits.places.get(split) or ("held out" if len(table) and not is_own[split] else "")
        parts.append(f"{split}: {where} ({len(table):,})" if where else f"{split}: {len(table):,}")
    if splits.left_out:
        parts.append(f"left out: {splits.left_out}")
    return "; ".join(parts)


def _wrong(splits: object) -> str | None:
    """What breaks the contract, which a data set of the user's own may do."""
    if not isinstance(splits, Splits):
        return f"{given(splits)}, expected Splits(train, test, class_names)"
    train, test, classes = splits[:3]
    for name, table in (("train", train), ("test", test)):
        if not isinstance(table, Table):
            return f"{given(table)} for {name}, expected a Table(images, labels)"
    if not isinstance(classes, tuple) or not all(isinstance(name, str) for name in classes):
        return f"{classes!r} for class_names, expected a tuple of texts, such as ('cat', 'dog')"
    if len(set(classes)) < len(classes):
        return f"a class name twice, in {classes}"
    if not len(train):
        return "no train images"
    if train.images.shape[1:] != test.images.shape[1:]:
        shapes = " and ".join(str(tuple(table.images.shape[1:])) for table in (train, test))
        return f"train and test images that differ in shape, {shapes}"
    if train.images.shape[1] not in (1, 3):
        shape = tuple(train.images.shape[1:])
        order = "; .permute(0, 3, 1, 2) puts channels first" if shape[2] in (1, 3) else ""
        return f"images of {shape}, expected (C, H, W) with 1 or 3 channels{order}"
    if train.attributes.keys() != test.attributes.keys():
        columns = " and ".join(f"[{', '.join(table.attributes)}]" for table in (train, test))
        return f"other attributes for train than for test, {columns}"
    for table in (train, test):
        labels = torch.zeros(0) if table.labels is None else table.labels
        found = labels[(labels < 0) | (labels >= len(classes))]
        if len(found):
            return (
                f"the label {int(found[0])}, expected labels in [0, {len(classes)}), one for each "
                "of class_names"
            )
    return None


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
