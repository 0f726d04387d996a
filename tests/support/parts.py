"""Pieces that tests put together by hand: the CPU, batches of a small table, networks, losses."""

from contextlib import nullcontext
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from dlrun.config.compose import compose_plain
from dlrun.config.schema import TrainConfig, check
from dlrun.data.batches import Batch, Batches
from dlrun.data.info import DataInfo
from dlrun.data.options import AugmentConfig, ViewConfig
from dlrun.data.table import DataSet, Pixels, PixelScale, Table
from dlrun.evaluation.inference import Inference
from dlrun.losses.base import bind
from dlrun.methods.base import Builder, Method
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.training.hardware import Hardware
from dlrun.training.ranks import Ranks
from dlrun.training.update import Update

CPU = Hardware(
    device=torch.device("cpu"), precision="fp32", memory_format=torch.contiguous_format,
    threads=1, compile=False, deterministic=False, anomaly=False, line="",
)  # fmt: skip
PLAIN = ViewConfig(
    pad=0, crop=None, flip=0.0, jitter=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0,
    grayscale=0.0, blur=0.0, blur_from=0, solarize=0.0,
)  # fmt: skip


def batches_of(
    data: DataSet,
    view: type[Batch],
    size: int = 8,
    first: ViewConfig = PLAIN,
    second: ViewConfig | None = None,
    pixels: Pixels = "unit",
    seed: int = 0,
    memory_format: torch.memory_format = torch.contiguous_format,
    weights: torch.Tensor | None = None,
) -> Batches:
    """Batches of `data` as a method with that view would be given them."""
    method: Any = SimpleNamespace(view_for=lambda _: view, pixels=pixels, weights=weights)
    config: Any = SimpleNamespace(
        method=Choice("own", None), augment=AugmentConfig(first, second), batch_size=size, seed=seed
    )
    hardware: Any = SimpleNamespace(device=torch.device("cpu"), memory_format=memory_format)
    return Batches(data, method, config, hardware, Ranks())


def network_of(choice: Choice, image_shape: tuple[int, int, int], num_classes: int) -> Any:
    """A freshly initialised network of the model group."""
    return lookup("model", choice.name)(choice.options, image_shape, num_classes)


def loss_of(name: str, **options: Any) -> Any:
    """A loss of the loss group with its options."""
    formula = lookup("loss", name)
    return bind(formula, formula.Config(**options))


@cache
def config_of(*overrides: str) -> TrainConfig:
    """The config of a run with these overrides."""
    return check(compose_plain([*overrides], None))


def method_of(*overrides: str, info: DataInfo, **build: Any) -> Any:
    """The method as a run builds it, from seed 0, in training mode; `build` is of its `Builder`."""
    config = config_of(*overrides)
    torch.manual_seed(0)
    builder = Builder(config.model, config.loss, info, **build)
    return lookup("method", config.method.name)(config.method.options, builder).train()


def updating(
    method: Method, optimizer: Any = torch.optim.SGD, total: int = 4, **own: Any
) -> Update:
    """An update as the loop has it, with one of torch's optimizers; by default it moves nothing."""
    options = own or {"lr": 0.0}
    groups = method.parameter_groups().items()
    made = {name: optimizer(list(group), **options) for name, group in groups}
    return Update(made, CPU, lambda step: 1.0, total)


def take_step(
    method: Method, update: Update, batch: Any, step: int = 0, autocast: Any = nullcontext
) -> dict[str, Tensor]:
    """A step on a batch that is given, as the loop takes it."""
    update.begin(step)
    with autocast():
        metrics = method.step(batch, update)
    update.finish()
    with torch.no_grad():
        method.after_update(update)
    return {name: value.detach() for name, value in metrics.items()}


class Gradients:
    """An update that takes the gradients of the loss and moves nothing."""

    step, progress = 0, 0.0

    def minimize(self, loss: Tensor, name: str = "main") -> None:
        loss.backward()  # type: ignore[no-untyped-call]


def literal_query(pool: list[Tensor], size: int, images: Tensor) -> Tensor:
    """The query of the CycleGAN authors' pool, a list, with the draws in the order of ours."""
    shown = []
    for image in images.detach().float():
        draw, swap = int(torch.randint(size, ())), float(torch.rand(())) < 0.5
        if len(pool) < size:
            pool.append(image.clone())
        elif swap:
            image, pool[draw] = pool[draw], image.clone()
        shown.append(image)
    return torch.stack(shown)


def data_of(train: Table, val: Table, test: Table, classes: int = 2, **more: Any) -> DataSet:
    """A data set of these tables; its classes are a, b, ..., of which the first two are domains."""
    channels = train.images.shape[1]
    known: dict[str, Any] = {
        "name": "own", "class_names": tuple("abcdefghij"[:classes]),
        "domains": (0, 1) if classes > 1 else None, "mean": torch.full((channels,), 0.5),
        "std": torch.full((channels,), 0.25), "checksum": "",
    }  # fmt: skip
    return DataSet(train=train, val=val, test=test, **(known | more))


def inference_on(
    method: Method,
    data: DataSet,
    pixels: Pixels = "unit",
    autocast: Any = nullcontext,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Inference:
    """The method on the CPU."""
    scale = PixelScale.of(pixels, data.mean, data.std)
    return Inference(method, data, scale, CPU.device, memory_format, autocast)
