"""The types of the whole configuration. The values live in conf/, in one place only."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dlrun.data.options import AugmentConfig, BiasConfig
from dlrun.options import (
    Choice,
    Count,
    Duration,
    Group,
    InSteps,
    NonEmpty,
    Pattern,
    Units,
    Whole,
)

# It becomes a part of the run folder's name.
RunName = Annotated[
    str,
    Pattern(
        r"[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,99}",
        "(at most 100 characters, no slash, no dot in front)",
    ),
]


@dataclass(frozen=True)
class HardwareConfig:
    """What is asked of the machine; `training.hardware` decides what `auto` means on this one."""

    device: Literal["auto", "cpu", "cuda", "mps"]
    devices: Count | Literal["auto"]
    sync_batchnorm: bool
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    memory_format: Literal["auto", "channels_last", "contiguous"]
    compile: bool
    threads: Count | Literal["auto"]
    deterministic: bool
    data: Literal["auto", "device", "host"]
    anomaly: bool


@dataclass(frozen=True)
class SweepConfig:
    """How `dlrun train -m` goes about its jobs; no run knows of it."""

    jobs: Count | Literal["auto"]
    retry: Literal["failed"] | None
    fail_fast: bool


@dataclass(frozen=True)
class TuneConfig:
    """How `dlrun tune` searches; no run knows of it."""

    trials: Count
    sampler: Literal["tpe", "random", "grid", "nsga2"]
    pruner: Literal["auto", "median", "hyperband", "none"]
    objective: tuple[NonEmpty, ...] | NonEmpty | None
    timeout: Annotated[Duration, Units(("s", "min"))] | None
    seed: Whole


@dataclass(frozen=True)
class TrainConfig:
    """One run, complete. Nothing below the command line sees anything else, nothing changes it."""

    method: Annotated[Choice, Group("method")]
    model: Annotated[Choice, Group("model")]
    loss: Annotated[Choice, Group("loss")]
    dataset: Annotated[Choice, Group("dataset")]
    optimizer: Annotated[Choice, Group("optimizer")]
    schedule: Annotated[Choice, Group("schedule")]
    augment: AugmentConfig
    bias: BiasConfig
    hardware: HardwareConfig
    logger: dict[str, Annotated[Choice, Group("logger")]]
    groups: tuple[NonEmpty, ...] | None
    seed: Whole
    epochs: Count
    steps: Count | None
    batch_size: Count
    accumulate: Count
    log_every: InSteps
    eval_every: InSteps
    patience: Count | None
    checkpoint_every: Annotated[Duration, Units(("steps", "epochs", "%", "s", "min"))]
    name: RunName | None
    outputs: NonEmpty
    data_dir: NonEmpty | None
