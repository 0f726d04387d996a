"""What must hold before the first step, each with the line that says what to change."""

from torch import nn

from dlrun.config.schema import TrainConfig
from dlrun.data.table import DataSet, domain_rows
from dlrun.errors import UserError
from dlrun.evaluation.metrics import describe
from dlrun.methods.abilities import Predicts, PredictsTasks, Translates
from dlrun.methods.base import Method
from dlrun.registry import lookup
from dlrun.training.hardware import pick_device
from dlrun.training.ranks import Ranks


def check_before_data(config: TrainConfig, ranks: Ranks) -> None:
    """What needs no data: the device, the processes, the metric that chooses the best epoch.

    Raises:
        UserError: one of them cannot work.
    """
    pick_device(config.hardware.device)
    check_processes(config, ranks)
    cls: type[Method] = lookup("method", config.method.name)
    key = cls.key_metric_for(config.method.options)
    if key is not None and describe(key, cls.metrics).higher_is_better is None:
        raise UserError(
            f"method {config.method.name}: its key_metric {key!r} is not described, so nothing "
            f'says whether higher is better; add metrics = {{"{key}": Metric("{key}", '
            "higher_is_better=True)} to the class"
        )


def check_processes(config: TrainConfig, ranks: Ranks) -> None:
    """Each process gets an equal part of a batch. Raises UserError."""
    view = lookup("method", config.method.name).view_for(config.method.options)
    number, called = view.unit
    share = ranks.size * number
    if ranks.size > 1 and config.batch_size % share:
        of = f" of {called}" if number > 1 else ""
        raise UserError(
            f"batch_size: got {config.batch_size}, but {ranks.size} processes share a batch{of}; "
            f"expected a multiple of {share}"
        )
    if config.hardware.sync_batchnorm and ranks.device.type != "cuda":
        raise UserError(
            "hardware.sync_batchnorm: got true, but torch synchronises batch norm on GPUs only; "
            "expected false"
        )


def check_labels(config: TrainConfig, data: DataSet) -> None:
    """A method that learns from labels has them, of two classes or more. Raises UserError."""
    cls: type[Method] = lookup("method", config.method.name)
    if cls.view_for(config.method.options).needs_labels and data.num_classes == 1:
        only = f"the only class is {data.class_names[0]}"
        told = next((line for line in data.report if line.startswith(only)), only)
        raise UserError(
            f"dataset={config.dataset.name}: method {config.method.name} needs two classes or "
            f"more, but {told}"
        )
    if cls.view_for(config.method.options).needs_labels and data.train.labels is None:
        raise UserError(
            f"dataset={config.dataset.name}: method {config.method.name} needs labels, but these "
            "images have none; put the images of each class into a folder of its own, or name a "
            "column of a table beside them: dataset.attributes=FILE.csv dataset.label=COLUMN"
        )


def check_method(config: TrainConfig, method: Method, data: DataSet, ranks: Ranks) -> None:
    """What needs the data and the built method: batch norm, patience, domains, groups.

    Raises:
        UserError: one of them cannot work; now, and not at the first evaluation or hours later.
    """
    name = config.method.name
    norms = (m for m in method.train().modules() if isinstance(m, nn.BatchNorm1d))
    one_each = config.batch_size == ranks.size
    if one_each and any(m.training for m in norms):  # a frozen one needs no batch
        raise UserError(
            f"batch_size: got {config.batch_size}, but method {name} with model "
            f"{config.model.name} has batch norm, which needs two images; expected an integer >= "
            f"{2 * ranks.size}"
        )
    if config.patience is not None and method.key_metric is None:
        raise UserError(
            f"patience: method {name} has no val metric that chooses the best epoch; expected null"
        )
    if config.patience is not None and not len(data.val):
        raise UserError(
            "patience: there is no val split to evaluate on; set dataset.val_fraction, or "
            "patience=null"
        )
    if isinstance(method, Translates):
        for split in ("val", "test"):
            if len(getattr(data, split)):
                domain_rows(data, split)
    tasks = method.tasks if isinstance(method, PredictsTasks) else ()
    classifies = isinstance(method, Predicts) and method.classifies
    if config.groups and not (classifies or any(task.classes for task in tasks)):
        raise UserError(
            f"groups: method {name} predicts no classes, so there is nothing to report by group; "
            "expected null"
        )
