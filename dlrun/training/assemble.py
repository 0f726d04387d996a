"""From a config to everything that a run consists of."""

from dataclasses import dataclass

from torch import nn

from dlrun.config.schema import TrainConfig
from dlrun.data.open import open_dataset
from dlrun.data.table import DataSet, PixelScale
from dlrun.data.views import Source
from dlrun.errors import UserError
from dlrun.methods.base import Builder, Method
from dlrun.options import Duration
from dlrun.randomness import seed_everything
from dlrun.registry import lookup
from dlrun.training.hardware import Hardware, compile_networks, data_device, pick, pick_device
from dlrun.training.optimizers import build_optimizers
from dlrun.training.schedules import rate_factor
from dlrun.training.update import Update


@dataclass(frozen=True)
class Experiment:
    """One run, ready to train."""

    config: TrainConfig
    data: DataSet
    method: Method
    hardware: Hardware
    source: Source
    update: Update
    total_steps: int
    steps_per_epoch: int

    @property
    def scale(self) -> PixelScale:
        """Between the table's bytes and the method's range."""
        return self.source.scale

    def steps(self, duration: Duration) -> int:
        """A duration of the config in optimizer steps."""
        return duration.steps(self.steps_per_epoch, self.total_steps)


def build_method(config: TrainConfig, data: DataSet) -> tuple[Method, list[nn.Module]]:
    """The method with freshly initialised networks, on the CPU, and the networks by themselves.

    The same seed gives the same weights on every device.
    """
    cls: type[Method] = lookup("method", config.method.name)
    if cls.view.needs_labels and data.train.labels is None:
        raise UserError(
            f"dataset={config.dataset.name}: method {config.method.name} needs labels, these "
            "images have none; put each class into a folder of its own"
        )
    seed_everything(config.seed, "init")
    build = Builder(config.model, config.loss, data.image_shape, data.num_classes)
    method = cls(config.method.options, build)
    return method, build.built


def _demand_a_batch(config: TrainConfig, method: Method) -> None:
    """Batch norm over vectors has no variance in a batch of one. Raises UserError."""
    if config.batch_size == 1 and any(isinstance(m, nn.BatchNorm1d) for m in method.modules()):
        raise UserError(
            f"batch_size: got 1, but method {config.method.name} with model {config.model.name} "
            "has batch norm, which needs two images; expected an integer >= 2"
        )


def assemble(config: TrainConfig) -> Experiment:
    """Opens the data, builds the method, picks the hardware.

    Raises:
        UserError: any of them cannot be had as asked.
    """
    pick_device(config.hardware.device)  # a missing device is told before any data is read
    data = open_dataset(config.dataset, config.data_dir)
    method, networks = build_method(config, data)
    _demand_a_batch(config, method)
    hardware = pick(config.hardware, method, networks)
    method.to(hardware.device)
    method.to(memory_format=hardware.memory_format)
    if hardware.compile:
        compile_networks(method)
    data = data.to(data_device(config.hardware.data, hardware.device, data.bytes))
    source = Source(
        data, method.view, config.augment, method.pixels, config.batch_size, config.seed,
        hardware.device, hardware.memory_format,
    )  # fmt: skip
    steps_per_epoch = max(1, source.batches_per_epoch // config.accumulate)
    total = max(1, config.epochs * source.batches_per_epoch // config.accumulate)
    total = min(total, config.steps) if config.steps else total
    optimizers = build_optimizers(
        config.optimizer,
        method.parameter_groups(),
        config.batch_size * config.accumulate,
        fused=hardware.device.type in ("cpu", "cuda"),
    )
    update = Update(
        optimizers,
        hardware,
        lambda step: rate_factor(config.schedule, step, total, steps_per_epoch),
        total,
        config.accumulate,
        config.optimizer.options.clip_norm,
    )
    return Experiment(config, data, method, hardware, source, update, total, steps_per_epoch)
