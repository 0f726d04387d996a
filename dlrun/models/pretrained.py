"""Weights of another run or file, and loading them: completely or not at all, with a report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from dlrun.data.info import DataInfo
from dlrun.data.table import Pixels
from dlrun.errors import UserError
from dlrun.models.classifier import Classifier
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.text import some

AnyModule = TypeVar("AnyModule", bound=nn.Module)

_NORMALIZATION_TOLERANCE = 0.01  # of the grey range; another val split moves the mean by 1e-4


@dataclass(frozen=True)
class Pretrained:
    """The weights of a run, or of a file, and what they belong to.

    A plain state dict of torchvision has no `model` and no `info`.
    """

    source: str
    """For people."""
    state: dict[str, Tensor]
    parts: Mapping[str, str]
    method: str | None = None
    model: Choice | None = None
    info: DataInfo | None = None
    pixels: Pixels | None = None
    step: int | None = None
    accuracy: float | None = None
    """On the val split when it was saved."""
    same_options: bool = False
    """Whether the options of its data set, the split's among them, are those of the present run."""

    def part(self, name: str) -> dict[str, Tensor] | None:
        """The state dict of `backbone` or `head`; None where it has none."""
        prefix = self.parts.get(name)
        if prefix is None:
            return None
        return {
            key.removeprefix(prefix): value
            for key, value in self.state.items()
            if key.startswith(prefix)
        }

    def __str__(self) -> str:
        if self.method is None:
            return self.source
        model = f" with {self.model.name}" if self.model else ""
        return f"{self.source} ({self.method}{model}, step {self.step})"


def freeze(network: AnyModule) -> AnyModule:
    """Without gradients, and `Method.train` leaves it in eval mode: neither weights nor batch norm
    statistics change."""
    network.requires_grad_(False)
    network.eval()
    network.frozen = True  # type: ignore[assignment]
    return network


def load_backbone(network: nn.Module, trained: Pretrained, info: DataInfo) -> list[str]:
    """Loads the backbone into `network`, every tensor of it.

    Returns:
        Lines for people: what was loaded, and what of the source was not used.

    Raises:
        UserError: a tensor is missing, has another shape, or would be left over.
    """
    key = f"model.init_from={trained.source}"
    given = trained.part("backbone")
    if given is None:
        raise UserError(f"{key}: {trained} has no backbone to start from")
    left_over = sorted(set(given) - set(network.state_dict()))
    head = trained.method is None and all(_is_head(name, given) for name in left_over)
    if head:  # the classifying layer in a state dict of torchvision
        given = {name: value for name, value in given.items() if name not in left_over}
    load_whole(network, given, key)
    numbers = sum(tensor.numel() for tensor in network.parameters())
    lines = [
        f"model.init_from: all {len(given)} tensors of the backbone ({numbers:,} parameters) "
        f"loaded from {trained}"
    ]
    unused = left_over if head else _others(trained)
    if unused:
        lines.append(f"model.init_from: not loaded: {', '.join(unused)}")
    if trained.info is not None and trained.info.class_names != info.class_names:
        there, here = (some(of.class_names, "classes") or "none" for of in (trained.info, info))
        lines.append(f"model.init_from: it was trained on other classes ({there}; here {here})")
    if trained.info is not None and not same_normalization(trained.info, info):
        lines.append(
            "model.init_from: it was trained on images with another mean or standard deviation "
            f"(mean {_numbers(trained.info.mean)} there, {_numbers(info.mean)} here)"
        )
    return lines


def load_weights(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """The weights of a run's own checkpoint into its method, bit for bit.

    Raises:
        UserError: they differ in a name, a shape or a type, or are not finite.
    """
    own = network.state_dict()
    trained = {name for name, _ in network.named_parameters()}
    for name in dict.fromkeys((*own, *state)):
        if name not in state or name not in own:
            reason = f"{name} is {'missing' if name in own else 'left over'}"
        elif (own[name].shape, own[name].dtype) != (state[name].shape, state[name].dtype):
            reason = f"{name} is {_form(state[name])} there, {_form(own[name])} here"
        elif name in trained and not bool(state[name].isfinite().all()):
            reason = f"{name} is not finite"
        else:
            continue
        raise UserError(f"{source}: its weights do not fit the method's code ({reason})")
    network.load_state_dict(state)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def load_whole(network: nn.Module, state: dict[str, Tensor], key: str) -> None:
    """`state` into `network`, strictly.

    Raises:
        UserError: the two differ; says in how many tensors and names the first.
    """
    own = network.state_dict()
    # Older state dicts lack these counters, which torch too lets pass.
    state = {n: own[n] for n in own if n.endswith("num_batches_tracked")} | state
    missing = [name for name in own if name not in state]
    left_over = [name for name in state if name not in own]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    if not (missing or left_over or shapes):
        for name, tensor in state.items():
            if own[name].is_floating_point() and not tensor.is_floating_point():
                raise UserError(f"{key}: {name} is {_form(tensor)}, expected {_form(own[name])}")
            if tensor.is_meta or tensor.layout != torch.strided or not tensor.isfinite().all():
                raise UserError(f"{key}: {name} is not dense or not finite")
        network.load_state_dict(state)
        return
    reasons = []
    if missing:
        reasons.append(f"{len(missing)} of {len(own)} tensors missing, such as {missing[0]}")
    if left_over:
        reasons.append(f"{len(left_over)} left over, such as {left_over[0]}")
    if shapes:
        name = shapes[0]
        reasons.append(
            f"{len(shapes)} of another shape, such as {name}: {list(state[name].shape)} there, "
            f"{list(own[name].shape)} here"
        )
    stem = any(name.endswith("conv1.weight") and state[name].shape[-1] == 7 for name in shapes)
    way = "choose the same model=..."
    if stem:
        way = "model.stem=imagenet has the 7 x 7 convolution of ImageNet's weights"
    raise UserError(f"{key}: does not fit the model: {'; '.join(reasons)}; {way}")


def load_teacher(
    trained: Pretrained, info: DataInfo, pixels: Pixels, needs_head: bool, key: str
) -> Classifier:
    """The classifier that `trained` holds, frozen; without a head where it has none.

    Args:
        trained: the weights.
        info: of the present data set, which has to be the same as the teacher's.
        pixels: how the student sees images.
        needs_head: whether the loss compares logits.
        key: of the config, for messages.

    Raises:
        UserError: it is not a classifier, or was trained on other images or classes.
    """
    key = f"{key}={trained.source}"
    if trained.model is None or trained.info is None:
        raise UserError(f"{key}: a plain state dict does not say what network it belongs to")
    _demand_same_images(trained, trained.info, info, pixels, key)
    head, backbone = trained.part("head"), trained.part("backbone")
    if backbone is None:
        raise UserError(f"{key}: {trained} has no encoder to learn from")
    if head is None and needs_head:
        raise UserError(
            f"loss: this one compares logits, but {trained} has no classifier: train one first "
            "(dlrun train method=supervised model.init_from=... model.freeze=backbone), or choose "
            "loss=kd_cosine or loss=hint, which compare features"
        )
    model, classes = lookup("model", trained.model.name), len(info.class_names)
    encoder: nn.Module = model(trained.model.options, info.image_shape, classes)
    load_whole(encoder, backbone, key)
    teacher = Classifier(encoder, 0.0, None if head is None else classes)
    if head is not None and teacher.head is not None:
        load_whole(teacher.head, head, key)
    return freeze(teacher)


def same_normalization(a: DataInfo, b: DataInfo) -> bool:
    """Whether mean and deviation of each channel agree but for what another val split changes."""
    if len(a.mean) != len(b.mean):
        return False
    pairs = zip((*a.mean, *a.std), (*b.mean, *b.std), strict=True)
    return all(abs(x - y) <= _NORMALIZATION_TOLERANCE for x, y in pairs)


def _demand_same_images(
    trained: Pretrained, there: DataInfo, here: DataInfo, pixels: Pixels, key: str
) -> None:
    if there.image_shape != here.image_shape:
        raise UserError(
            f"{key}: it was trained on images of {there.image_shape}, these are {here.image_shape}"
        )
    if there.class_names != here.class_names:
        names = [", ".join(info.class_names[:3]) for info in (there, here)]
        raise UserError(
            f"{key}: it was trained on {len(there.class_names)} classes ({names[0]} ...), this "
            f"data set has {len(here.class_names)} ({names[1]} ...)"
        )
    if trained.pixels != pixels or not same_normalization(there, here):
        raise UserError(
            f"{key}: it was trained on pixels that were normalised differently ({trained.pixels}, "
            f"mean {_numbers(there.mean)}; here {pixels}, mean {_numbers(here.mean)})"
        )


def _is_head(name: str, given: dict[str, Tensor]) -> bool:
    """Whether a name ends a plain state dict, as the last linear layer's two do."""
    last = list(given)[-1].rpartition(".")[0]
    return name.rpartition(".")[0] == last


def _others(trained: Pretrained) -> list[str]:
    """The parts of the source beside its backbone, by the first part of their names."""
    backbone = trained.parts["backbone"]
    names = (name for name in trained.state if not name.startswith(backbone))
    return list(dict.fromkeys(name.split(".")[0] for name in names))


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
