"""From a config to everything that a run consists of."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from dlrun.config.schema import TrainConfig
from dlrun.data.augment import is_random
from dlrun.data.batches import Batches, TwoViews
from dlrun.data.info import facts_of, info_of, sizes_of
from dlrun.data.open import open_dataset
from dlrun.data.options import AugmentConfig
from dlrun.data.table import DataSet, PixelScale
from dlrun.errors import CodeError, UserError
from dlrun.methods.base import Builder, Method
from dlrun.models.pretrained import Pretrained
from dlrun.options import Duration
from dlrun.randomness import seed_everything
from dlrun.registry import lookup, place
from dlrun.runs.provenance import change
from dlrun.text import given, some
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

    @property
    def length(self) -> dict[str, int]:
        """Optimizer steps of the run and of an epoch, which stay when it is resumed."""
        return {"total": self.total_steps, "epoch": self.steps_per_epoch}

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
    method = cls(config.method.options, build)
    if lazy := [name for name, p in method.named_parameters() if is_lazy(p)]:
        raise CodeError(
            f"{cls.__name__} has lazy layers ({lazy[0]}), whose shapes are not known; call them "
            "once in __init__, with torch.zeros(1, *build.image_shape)",
            cls.__init__,
        )
    return method, build


def _length(config: TrainConfig, data: DataSet) -> tuple[int, int]:
    """Optimizer steps of an epoch and of the run."""
    view = lookup("method", config.method.name).view_for(config.method.options)
    batches = view.length(data) // config.batch_size
    if batches and config.accumulate > batches:
        raise UserError(
            f"accumulate: got {config.accumulate}, but an epoch of {data.name} has {batches} "
            f"batches of {config.batch_size}; expected an integer in [1, {batches}]"
        )
    of_epoch = max(1, batches // config.accumulate)
    total = config.epochs * of_epoch
    return of_epoch, min(total, config.steps or total)


def facts(data: DataSet) -> dict[str, Any]:
    """What of its data a run records, to know them again."""
    return facts_of(info_of(data), sizes_of(data))


def _opened(config: TrainConfig, began: Mapping[str, Any]) -> DataSet:
    """The data; those that the run began with, if it has begun. Raises UserError."""
    try:
        data = open_dataset(config.dataset, config.data_dir, config.bias, config.groups)
    except UserError as error:
        if not began or not hasattr(config.dataset.options, "root"):
            raise
        moved = "where its folder was moved: dlrun resume RUN dataset.root=FOLDER"
        raise UserError(f"{error}; {moved}") from None
    if began and (changed := change(began["data"], facts(data))):
        raise UserError(
            f"dataset={config.dataset.name}: not the data that this run began with ({changed}); "
            "restore them, or start a new run, for which model.init_from=RUN takes its weights"
        )
    return data


def assemble(
    config: TrainConfig,
    trained: Callable[[str], Pretrained],
    ranks: Ranks = SINGLE,
    began: Mapping[str, Any] = MappingProxyType({}),
) -> Experiment:
    """Opens the data, builds the method, picks the hardware.

    Args:
        config: of the run.
        trained: looks up weights that the config names.
        ranks: the processes that train it together.
        began: provenance.json of a run that is resumed: its data and its length stay.

    Raises:
        UserError: any of them cannot be had as asked.
    """
    check_before_data(config, ranks)
    data = _opened(config, began)
    config, unmirrored = _unmirrored(config, data)
    steps_per_epoch, total = _length(config, data)
    if began:
        steps_per_epoch, total = began["length"]["epoch"], began["length"]["total"]
    method, build = build_method(config, data, trained, total / steps_per_epoch)
    check_method(config, method, data, ranks)
    hardware = pick(config.hardware, config.method.name, build.built)
    method = _placed(method, config, hardware)
    groups = parameter_groups(method)
    data = data.to(data_device(config.hardware.data, hardware.device, data.bytes))
    return Experiment(
        config,
        data,
        method,
        hardware,
        Batches(data, method, config, hardware, ranks),
        _update(config, method, groups, hardware, ranks, steps_per_epoch, total),
        total,
        steps_per_epoch,
        trained,
        ranks,
        [
            *data.report,
            *build.report,
            *_left_out(method, groups),
            *_own_norms(config, method, ranks),
            *unmirrored,
        ],
    )


def _placed(method: Method, config: TrainConfig, hardware: Hardware) -> Method:
    """The method on its device, as its options want it there."""
    method.to(hardware.device).to(memory_format=hardware.memory_format)
    if config.hardware.sync_batchnorm:
        method = nn.SyncBatchNorm.convert_sync_batchnorm(method)
    if hardware.compile:
        compile_networks(method)
    return method


Groups = dict[str, list[nn.Parameter]]


def parameter_groups(method: Method) -> Groups:
    """Those of the method, each as a list.

    Raises:
        CodeError: they are no parameters of the method, none, or one twice.
    """
    known = {id(p): name for name, p in method.named_parameters()}
    code = method.parameter_groups
    if not known:
        raise CodeError(
            f"{type(method).__name__} has no parameters to train; networks in a list or a dict are "
            "not seen, expected nn.ModuleList or nn.ModuleDict",
            type(method),
        )
    _demand_none_hidden(method, known)
    given_groups = method.parameter_groups()
    if not isinstance(given_groups, dict) or not given_groups:
        raise CodeError(
            f"parameter_groups() returned {given(given_groups)}, expected a dict from a name to "
            "parameters",
            code,
        )
    groups = {name: list(group) for name, group in given_groups.items()}
    for name, group in groups.items():
        foreign = next((p for p in group if id(p) not in known), None)
        if foreign is not None:
            raise CodeError(
                f"parameter_groups() has {given(foreign)} in {name!r}, which is no parameter of "
                "the method; expected those of its attributes, or of networks in an nn.ModuleList",
                code,
            )
        twice = [known[key] for key, n in Counter(map(id, group)).items() if n > 1]
        if twice or (not group and place(code)):
            what = f"{twice[0]} twice" if twice else "nothing"
            raise CodeError(
                f"parameter_groups() has {what} in {name!r}, expected each parameter once", code
            )
    return groups


def _demand_none_hidden(method: Method, known: Collection[int]) -> None:
    """No network stands in a plain list or dict, where it would be neither trained nor saved."""
    for module in method.modules():
        for name, value in vars(module).items():
            inside = value.values() if isinstance(value, dict) else value
            if not isinstance(value, list | tuple | dict):
                continue
            parameters = (p for m in inside if isinstance(m, nn.Module) for p in m.parameters())
            if any(p.requires_grad and id(p) not in known for p in parameters):
                raise CodeError(
                    f"{type(module).__name__}.{name} has networks in a {type(value).__name__}, "
                    "where they are neither trained nor saved; expected nn.ModuleList or "
                    "nn.ModuleDict, or requires_grad_(False) for those that stay as they are",
                    type(module),
                )


def _left_out(method: Method, groups: Groups) -> list[str]:
    """A line where a parameter could be trained and no optimizer has it, or several have it."""
    held = Counter(id(p) for group in groups.values() for p in group)
    named = [(name, held[id(p)]) for name, p in method.named_parameters() if p.requires_grad]
    lines = {
        "NOT trained, in none of parameter_groups()": [name for name, n in named if not n],
        "trained by several optimizers": [name for name, n in named if n > 1],
    }
    return [f"{text}: {some(names)}" for text, names in lines.items() if names]


def _unmirrored(config: TrainConfig, data: DataSet) -> tuple[TrainConfig, list[str]]:
    """The config without flips where they make another thing of an image, and a line about it."""
    first, second = config.augment.first, config.augment.second
    if data.mirror or not (first.flip or (second and second.flip)):
        return config, []
    augment = AugmentConfig(replace(first, flip=0.0), second and replace(second, flip=0.0))
    line = f"augment: images of {data.name} are not mirrored, since that would change what they are"
    return replace(config, augment=augment), [line]


def _own_norms(config: TrainConfig, method: Method, ranks: Ranks) -> list[str]:
    """A line where each process has batch statistics of its own."""
    norms = [m for m in method.modules() if isinstance(m, _BatchNorm) and m.training]
    if ranks.size == 1 or config.hardware.sync_batchnorm or not norms:
        return []
    line = (
        f"batch norm: each of {ranks.size} processes has the statistics of its own "
        f"{config.batch_size // ranks.size} images"
    )
    if issubclass(method.view_for(config.method.options), TwoViews):
        line += "; with few of them, representations may collapse"
    return [f"{line}; on GPUs hardware.sync_batchnorm=true makes them those of the whole batch"]


def _update(
    config: TrainConfig,
    method: Method,
    groups: Groups,
    hardware: Hardware,
    ranks: Ranks,
    steps_per_epoch: int,
    total: int,
) -> Update:
    """The optimizers of the method's parameter groups, and how they step."""
    own = method.optimizers()
    optimizers = build_optimizers(
        config.optimizer,
        groups,
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
