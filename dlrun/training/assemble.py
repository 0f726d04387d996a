"""From a config to everything that a run consists of."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from dlrun.config.schema import TrainConfig
from dlrun.data.augment import is_random
from dlrun.data.batches import Batches
from dlrun.data.info import info_of
from dlrun.data.open import open_dataset
from dlrun.data.table import DataSet, PixelScale
from dlrun.methods.base import Builder, Method
from dlrun.models.pretrained import Pretrained
from dlrun.options import Duration
from dlrun.randomness import seed_everything
from dlrun.registry import lookup
from dlrun.training.hardware import Hardware, compile_networks, data_device, pick
from dlrun.training.optimizers import build_optimizers
from dlrun.training.preflight import check_before_data, check_labels, check_method
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
    check_labels(config, data)
    cls: type[Method] = lookup("method", config.method.name)
    seed_everything(config.seed, "init")
    augmented = is_random(config.augment.first)
    build = Builder(
        config.model, config.loss, info_of(data), epochs, len(data.train), augmented, trained
    )
    return cls(config.method.options, build), build


def _length(config: TrainConfig, data: DataSet) -> tuple[int, int]:
    """Optimizer steps of an epoch and of the run."""
    view = lookup("method", config.method.name).view_for(config.method.options)
    batches = view.length(data) // config.batch_size
    total = max(1, config.epochs * batches // config.accumulate)
    return max(1, batches // config.accumulate), min(total, config.steps or total)


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
    check_before_data(config, ranks)
    data = open_dataset(config.dataset, config.data_dir, config.bias, config.groups)
    steps_per_epoch, total = _length(config, data)
    method, build = build_method(config, data, trained, total / steps_per_epoch)
    check_method(config, method, data, ranks)
    hardware = pick(config.hardware, config.method.name, build.built)
    method = _placed(method, config, hardware)
    data = data.to(data_device(config.hardware.data, hardware.device, data.bytes))
    return Experiment(
        config,
        data,
        method,
        hardware,
        Batches(data, method, config, hardware, ranks),
        _update(config, method, hardware, ranks, steps_per_epoch, total),
        total,
        steps_per_epoch,
        trained,
        ranks,
        [*data.report, *build.report, *_left_out(method)],
    )


def _placed(method: Method, config: TrainConfig, hardware: Hardware) -> Method:
    """The method on its device, as its options want it there."""
    method.to(hardware.device).to(memory_format=hardware.memory_format)
    if config.hardware.sync_batchnorm:
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    if hardware.compile:
        compile_networks(method)
    return method


def _left_out(method: Method) -> list[str]:
    """A line where a parameter could be trained and no optimizer has it."""
    held = {id(p) for group in method.parameter_groups().values() for p in group}
    names = [n for n, p in method.named_parameters() if p.requires_grad and id(p) not in held]
    if not names:
        return []
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return [f"NOT trained, in none of parameter_groups(): {len(names)} parameters ({shown})"]


def _update(
    config: TrainConfig,
    method: Method,
    hardware: Hardware,
    ranks: Ranks,
    steps_per_epoch: int,
    total: int,
) -> Update:
    """The optimizers of the method's parameter groups, and how they step."""
    own = method.optimizers()
    optimizers = build_optimizers(
        config.optimizer,
        method.parameter_groups(),
        config.batch_size * config.accumulate,
        fused=hardware.device.type in ("cpu", "cuda"),
        own=own,
    )
    return Update(
        optimizers,
        hardware,
        lambda step: rate_factor(config.schedule, step, total, steps_per_epoch),
        total,
        config.accumulate,
        {name: own.get(name, config.optimizer).options.clip_norm for name in optimizers},
        ranks,
    )
