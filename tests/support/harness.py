"""Experiments as the command line would assemble them, small, and steps as the loop takes them."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import parts
from torch import Tensor

from dlrun.config.schema import TrainConfig
from dlrun.config.typed import to_plain_types
from dlrun.evaluation.inference import Inference
from dlrun.methods.base import Method
from dlrun.models.pretrained import Pretrained
from dlrun.runs.folder import RunFolder
from dlrun.training import checkpoint, loop
from dlrun.training.assemble import Experiment, assemble
from dlrun.training.inputs import Inputs
from dlrun.training.run import describe

SUPERVISED = ("method=supervised", "model=resnet8", "model.width=4", "batch_size=16")
BYOL = ("method=byol", "model=resnet8", "model.width=4", "method.hidden=32", "batch_size=16")
VAE = ("method=vae", "model.width=4", "model.hidden=32", "batch_size=16")
AUTOENCODER = (
    "method=autoencoder", "model.width=4", "model.hidden=32", "method.code=8", "batch_size=16",
)  # fmt: skip
DBVAE = (
    "method=dbvae", "model.width=4", "model.hidden=32", "method.latent=8", "batch_size=16",
    "dataset.positive=Sneaker",
)  # fmt: skip
CYCLEGAN = (
    "method=cyclegan", "model.width=4", "model.blocks=1", "method.discriminator.width=4",
    "batch_size=2", "method.pool=3",
)  # fmt: skip

SIAMESE = (
    "method=siamese", "model=resnet8", "model.width=4", "method.embedding=16", "batch_size=16",
)  # fmt: skip
CAPSNET = (
    "method=capsnet", "model.channels=8", "model.types=2", "model.routing=2", "batch_size=8",
)  # fmt: skip
TEACHER = "{teacher}"
"""Stands for a small teacher's checkpoint among the overrides."""
DISTILL = (
    "method=distill", f"method.teacher={TEACHER}", "model=resnet8", "model.width=4",
    "batch_size=16",
)  # fmt: skip

MULTITASK = ("method=multitask", *SUPERVISED[1:])

SMALL = {
    "supervised": SUPERVISED, "multitask": MULTITASK, "distill": DISTILL, "byol": BYOL,
    "siamese": SIAMESE, "capsnet": CAPSNET, "autoencoder": AUTOENCODER, "vae": VAE, "dbvae": DBVAE,
    "cyclegan": CYCLEGAN,
}  # fmt: skip
"""The smallest of each method."""

CASES: dict[str, tuple[str, ...]] = {
    "supervised": SUPERVISED,
    "supervised mlp": ("method=supervised", "model=mlp", "batch_size=16", "method.dropout=0.3"),
    "supervised smoothed": (*SUPERVISED, "loss.label_smoothing=0.1", "optimizer=adamw"),
    "supervised penalised": (*SUPERVISED, "method.l1=1e-4", "method.l2=1e-4", "loss=focal"),
    "supervised squared": (*SUPERVISED, "loss=squared_error", "optimizer=lars"),
    "supervised frozen": (*SUPERVISED, "model.freeze=backbone"),
    "supervised transfer": (*SUPERVISED, f"model.init_from={TEACHER}"),
    "multitask": MULTITASK,
    "multitask of a column": (
        *MULTITASK, "bias=flip", "method.tasks=[flip,label]", "method.task_weights=[0.5,1]",
    ),
    "distill": DISTILL,
    "distill remembered": (*DISTILL, "augment=none"),
    "distill standardized": (*DISTILL, "loss=kd_standardized", "method.kd_warmup=0.5"),
    "distill decoupled": (*DISTILL, "loss=dkd"),
    "distill cosine": (*DISTILL, "loss=kd_cosine", "model.width=6"),
    "distill hint": (
        *DISTILL, "loss=hint", "model.width=6", "method.student_tap=stage2",
        "method.teacher_tap=stage1",
    ),
    "distill attention": (*DISTILL, "loss=attention", "model.width=6"),
    "siamese": SIAMESE,
    "siamese hard contrastive": (*SIAMESE, "loss=contrastive", "method.mining=hard"),
    "siamese views": (*SIAMESE, "method.positives=view", "method.mining=random"),
    "capsnet": CAPSNET,
    "capsnet without decoder": (*CAPSNET, "method.decoder=false"),
    "byol": BYOL,
    "byol mlp": ("method=byol", "model=mlp", "method.hidden=32", "batch_size=16", "optimizer=sgd"),
    "byol without predictor": (*BYOL, "method.predictor=none"),
    "byol without target projector": (
        *BYOL, "method.target_projector=false", "method.projection=16",
    ),
    "vae": VAE,
    "vae mse": (*VAE, "loss=mse", "method.beta=4"),
    "vae learned variance": (*VAE, "loss=mse", "loss.learned=true", "method.reduction=mean"),
    "vae mlp binarized": (
        "method=vae", "model=mlp_autoencoder", "method.binarize=random",
        "method.likelihood_draws=3",
    ),
    "vae eased in": (*VAE, "method.binarize=static", "method.warmup=0.5", "method.free_bits=0.1"),
    "dbvae": DBVAE,
    "dbvae of all classes": (*DBVAE[:-1], "method.combine=topk", "loss=mse"),
    "dbvae unsure": (*DBVAE, "method.indicator=unsure", "method.resampling=shuffled"),
    "dbvae balanced": (*DBVAE[:-1], "method.resampling=attribute", "method.balance=[label]"),
    "autoencoder": AUTOENCODER,
    "autoencoder denoising": (
        "method=autoencoder", "model=mlp_autoencoder", "model.hidden=[32,16]", "loss=bce",
        "method.noise=0.2", "method.masked=0.3",
    ),
    "cyclegan": CYCLEGAN,
    "cyclegan hinge": (*CYCLEGAN, "loss=hinge_gan", "method.pool=0"),
    "cyclegan bce": (*CYCLEGAN, "loss=bce_gan", "method.discriminator.layers=2"),
    "cyclegan unet": (
        "method=cyclegan", "model=unet_generator", "model.width=4", "batch_size=2",
        "method.discriminator.width=4", "method.pool=3",
    ),
}  # fmt: skip


@cache
def teacher() -> str:
    """The checkpoint of a teacher that has learnt nothing; a file, deleted when Python ends."""
    made = assemble(config_of("hardware=cpu", "seed=1", *SUPERVISED), _no_inputs)
    content = describe(to_plain_types(made.config), made)
    content |= {"step": 0, "val": {}, "val_step": 0, "method": made.method.state_dict()}
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    checkpoint.save(folder / "teacher.pt", content)
    return str(folder / "teacher.pt")


def _no_inputs(reference: str) -> Pretrained:
    raise AssertionError(reference)


def config_of(*overrides: str) -> TrainConfig:
    """The config of a run with these overrides, `TEACHER` in them replaced."""
    named = [text.replace(TEACHER, teacher()) if TEACHER in text else text for text in overrides]
    return parts.config_of(*named)


def experiment(*overrides: str, hardware: str = "cpu") -> Experiment:
    """In training mode."""
    config = config_of(f"hardware={hardware}", *overrides)
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(RunFolder(Path(folder)), Path(config.outputs), {})
        made = assemble(config, inputs)
    made.method.train()
    return made


def inference_of(made: Experiment) -> Inference:
    hardware = made.hardware
    return Inference(
        made.method, made.data, made.scale, hardware.device, hardware.memory_format,
        hardware.autocast,
    )  # fmt: skip


def take_step(made: Experiment, step: int) -> dict[str, Tensor]:
    """One optimizer step, as the loop takes it; the metrics of its last batch."""
    if step % made.steps_per_epoch == 0:
        loop.before_epoch(made, inference_of(made), step)
    return loop.take_step(made, step)[-1]


def step_on(made: Experiment, batch: Any, step: int) -> dict[str, Tensor]:
    """A step on a batch that is given."""
    return parts.take_step(made.method, made.update, batch, step, made.hardware.autocast)


def trained_names(method: Method) -> set[str]:
    """Of the parameters that an optimizer holds."""
    held = {id(p) for group in method.parameter_groups().values() for p in group}
    return {name for name, p in method.named_parameters() if id(p) in held}


def snapshot(method: Method) -> dict[str, Tensor]:
    """A copy of all of its state."""
    return {name: value.clone() for name, value in method.state_dict().items()}
