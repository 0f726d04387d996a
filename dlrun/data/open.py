"""A data set by its config: read, val split off, statistics of the train split."""

import os
import sys
from pathlib import Path

from dlrun.data.sources.base import SourceConfig
from dlrun.data.split import hold_out
from dlrun.data.table import DataSet, pixel_statistics
from dlrun.errors import UserError
from dlrun.options import Choice
from dlrun.registry import lookup, suggest


def cache_folder(data_dir: str | None) -> Path:
    """Where downloads and decoded images lie: `data_dir`, $DLRUN_DATA, or the user's cache folder."""
    chosen = data_dir or os.environ.get("DLRUN_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "dlrun"


def open_dataset(choice: Choice, data_dir: str | None) -> DataSet:
    """The data set of the config, on the CPU.

    Raises:
        UserError: it cannot be had or read, or the options do not fit it.
    """
    options: SourceConfig = choice.options
    splits = lookup("dataset", choice.name)().load(options, cache_folder(data_dir))
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


def _domains(names: tuple[str, str] | None, classes: tuple[str, ...]) -> tuple[int, int] | None:
    if names is None:
        return (0, 1) if len(classes) == 2 else None
    for name in names:
        if name not in classes:
            raise UserError(
                f"dataset.domains: {name!r} is no class of it{suggest(name, list(classes))}"
            )
    if names[0] == names[1]:
        raise UserError(f"dataset.domains: got {names[0]!r} twice, expected two different classes")
    return classes.index(names[0]), classes.index(names[1])
