"""From a config to everything that a run consists of."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dlrun.config.schema import TrainConfig
from dlrun.data.augment import is_random
from dlrun.data.batches import Batches
from dlrun.data.info import info_of
from dlrun.data.open import open_dataset
from dlrun.data.table import DataSet, PixelScale, domain_rows
from dlrun.errors import UserError
from dlrun.evaluation.metrics import describe
from dlrun.methods.abilities import Predicts, Translates
from dlrun.methods.base import Builder, Method
from dlrun.models.pretrained import Pretrained
from dlrun.options import Duration
from dlrun.randomness import seed_everything
from dlrun.registry import lookup
from dlrun.training.hardware import Hardware, compile_networks, data_device, pick, pick_device
from dlrun.training.optimizers import build_optimizers
from dlrun.training.ranks import SINGLE, Ranks
from dlrun.training.schedules import rate_factor
from dlrun.training.update import Update


@dataclass(frozen=True)
class Experiment:
    """One run, ready to train."""

    config: TrainConfig
    data: DataSet
    method: Method
    hardware: Hardware
    batches: Batches
    update: Update
    total_steps: int
    steps_per_epoch: int
    trained: Callable[[str], Pretrained]
    ranks: Ranks
    report: list[str]
    """What was loaded from where, for people."""

    @property
    def scale(self) -> PixelScale:
        """Between the table's bytes and the method's range."""
        return self.batches.scale

    def steps(self, duration: Duration) -> int:
        """A duration of the config in optimizer steps."""
        return duration.steps(self.steps_per_epoch, self.total_steps)


def build_method(
    config: TrainConfig, data: DataSet, trained: Callable[[str], Pretrained], epochs: float
) -> tuple[Method, Builder]:
    """The method as it is before its first step, on the CPU, and who built its networks.

    The same seed gives the same weights on every device.
    """
    cls: type[Method] = lookup("method", config.method.name)
    if cls.view_for(config.method.options).needs_labels and data.train.labels is None:
        raise UserError(
            f"dataset={config.dataset.name}: method {config.method.name} needs labels, these "
            "images have none; put each class into a folder of its own"
        )
    seed_everything(config.seed, "init")
    augmented = is_random(config.augment.first)
    build = Builder(
        config.model, config.loss, info_of(data), epochs, len(data.train), augmented, trained
    )
    return cls(config.method.options, build), build


def _demand_a_batch(config: TrainConfig, method: Method, ranks: Ranks) -> None:
    """Batch norm over vectors has no variance in a batch of one. Raises UserError."""
    norms = (m for m in method.train().modules() if isinstance(m, nn.BatchNorm1d))
    alone = config.batch_size == ranks.size
    if alone and any(m.training for m in norms):  # a frozen one needs no batch
        raise UserError(
            f"batch_size: got {config.batch_size}, but method {config.method.name} with model "
            f"{config.model.name} has batch norm, which needs two images; expected an integer >= "
            f"{2 * ranks.size}"
        )


def _demand_direction(config: TrainConfig) -> None:
    """The metric that chooses the best epoch is better high or low. Raises UserError."""
    cls: type[Method] = lookup("method", config.method.name)
    key = cls.key_metric_for(config.method.options)
    if key is not None and describe(key, cls.metrics).higher_is_better is None:
        raise UserError(
            f"method {config.method.name}: its key_metric {key!r} is not described, so nothing "
            f'says whether higher is better; add metrics = {{"{key}": Metric("{key}", '
            "higher_is_better=True)} to the class"
        )


def _demand_an_end(config: TrainConfig, method: Method, data: DataSet) -> None:
    """Patience that can never run out. Raises UserError."""
    if config.patience is None:
        return
    if method.key_metric is None:
        raise UserError(
            f"patience: method {config.method.name} has no val number that says which epoch is "
            "best; expected null"
        )
    if not len(data.val):
        raise UserError(
            "patience: there is no val split to evaluate on; set dataset.val_fraction, or "
            "patience=null"
        )


def _demand_classes(config: TrainConfig, method: Method) -> None:
    """Groups that were asked for are reported of what classifies. Raises UserError."""
    if config.groups and not (isinstance(method, Predicts) and method.classifies):
        raise UserError(
            f"groups: method {config.method.name} gives no classes that could be judged by group; "
            "expected null"
        )


def _demand_both_domains(method: Method, data: DataSet) -> None:
    """Told now and not by the first evaluation, or by the test hours later. Raises UserError."""
    if isinstance(method, Translates):
        for split in ("val", "test"):
            if len(getattr(data, split)):
                domain_rows(data, split)


def _length(config: TrainConfig, data: DataSet) -> tuple[int, int]:
    """Optimizer steps of an epoch and of the run."""
    view = lookup("method", config.method.name).view_for(config.method.options)
    batches = view.length(data) // config.batch_size
    total = max(1, config.epochs * batches // config.accumulate)
    return max(1, batches // config.accumulate), min(total, config.steps or total)


def demand_shares(config: TrainConfig, ranks: Ranks) -> None:
    """A batch is shared equally. Raises UserError."""
    if config.batch_size % ranks.size:
        raise UserError(
            f"batch_size: got {config.batch_size}, but {ranks.size} processes share a batch; "
            f"expected a multiple of {ranks.size}"
        )
    if config.hardware.sync_batchnorm and ranks.device.type != "cuda":
        raise UserError(
            "hardware.sync_batchnorm: got true, but torch synchronises batch norm on GPUs only; "
            "expected false"
        )


def assemble(
    config: TrainConfig, trained: Callable[[str], Pretrained], ranks: Ranks = SINGLE
) -> Experiment:
    """Opens the data, builds the method, picks the hardware.

    Args:
        config: of the run.
        trained: looks up weights that the config names.
        ranks: the processes that train it together.

    Raises:
        UserError: any of them cannot be had as asked.
    """
    pick_device(config.hardware.device)  # a missing device is an error before any data is read
    demand_shares(config, ranks)
    _demand_direction(config)
    data = open_dataset(config.dataset, config.data_dir, config.bias, config.groups)
    steps_per_epoch, total = _length(config, data)
    method, build = build_method(config, data, trained, total / steps_per_epoch)
    _demand_a_batch(config, method, ranks)
    _demand_an_end(config, method, data)
    _demand_both_domains(method, data)
    _demand_classes(config, method)
    hardware = pick(config.hardware, config.method.name, build.built)
    method.to(hardware.device)
    method.to(memory_format=hardware.memory_format)
    if config.hardware.sync_batchnorm:
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    if hardware.compile:
        compile_networks(method)
    data = data.to(data_device(config.hardware.data, hardware.device, data.bytes))
    batches = Batches(data, method, config, hardware, ranks)
    optimizers = build_optimizers(
        config.optimizer,
        method.parameter_groups(),
        config.batch_size * config.accumulate,
        fused=hardware.device.type in ("cpu", "cuda"),
        own=method.optimizers(),
    )
    update = Update(
        optimizers,
        hardware,
        lambda step: rate_factor(config.schedule, step, total, steps_per_epoch),
        total,
        config.accumulate,
        {
            name: method.optimizers().get(name, config.optimizer).options.clip_norm
            for name in optimizers
        },
        ranks=ranks,
    )
    return Experiment(
        config, data, method, hardware, batches, update, total, steps_per_epoch, trained,
        ranks, [*data.report, *build.report],
    )  # fmt: skip
