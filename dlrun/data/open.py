"""A data set by its config: read, val split off, statistics of the train split."""

import os
import sys
from pathlib import Path

from dlrun.data.sources.base import SourceConfig, Splits
from dlrun.data.split import hold_out
from dlrun.data.table import DataSet, pixel_statistics
from dlrun.errors import UserError
from dlrun.options import Choice
from dlrun.registry import lookup, suggest


def cache_folder(data_dir: str | None) -> Path:
    """Where downloads and decoded images are: `data_dir`, $DLRUN_DATA, or the user's cache."""
    chosen = data_dir or os.environ.get("DLRUN_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        asked = Path(os.environ.get("XDG_CACHE_HOME", ""))
        base = asked if asked.is_absolute() else Path.home() / ".cache"
    return base / "dlrun"


def open_dataset(choice: Choice, data_dir: str | None) -> DataSet:
    """The data set of the config, on the CPU.

    Raises:
        UserError: it cannot be had or read, or the options do not fit it.
    """
    options: SourceConfig = choice.options
    splits = lookup("dataset", choice.name)().load(options, cache_folder(data_dir))
    _check(choice.name, splits)
    whole = splits.train
    stays, held = hold_out(whole.labels, len(whole), options.val_fraction, "val")
    train = whole.subset(stays)
    mean, std = pixel_statistics(train.images)
    return DataSet(
        name=choice.name,
        train=train,
        val=whole.subset(held),
        test=splits.test,
        class_names=splits.class_names,
        domains=_domains(options.domains, splits.class_names),
        mean=mean,
        std=std,
        checksum=splits.checksum or f"{whole.checksum()[:32]}{splits.test.checksum()[:32]}",
    )


def _check(name: str, splits: Splits) -> None:
    """A data set of the user's own may break the contract; told here, not by a network later."""
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
    if not classes:
        raise UserError("dataset.domains: these images have no classes, expected null")
    for name in names:
        if name not in classes:
            raise UserError(
                f"dataset.domains: {name!r} is no class of it{suggest(name, list(classes))}"
            )
    if names[0] == names[1]:
        raise UserError(f"dataset.domains: got {names[0]!r} twice, expected two different classes")
    return classes.index(names[0]), classes.index(names[1])
