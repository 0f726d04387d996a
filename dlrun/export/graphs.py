"""What a trained method can do, each as a module of plain tensors that begins with raw pixels."""

import re
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data.table import PixelScale
from dlrun.methods.abilities import PredictsTasks
from dlrun.methods.base import Method
from dlrun.use import TrainedModel
from dlrun.use.prediction import LABEL


class Graph(nn.Module):
    """One capability: a float32 input (B, ...) to a float32 output (B, ...).

    `input_name` is `image`, (B, C, H, W) in [0, 1], normalised within; or `code`, (B, D).
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self, method: Method, function: Callable[[Any, Tensor], Tensor], scale: PixelScale | None
    ) -> None:
        super().__init__()
        self.method, self.function = method, function
        self.input_name = "code" if scale is None else "image"
        self.unit = 1.0
        """What a difference is measured in: of a number, its column's standard deviation."""
        if scale is not None:
            self.register_buffer("shift", scale.shift.cpu()[:, None, None].clone())
            self.register_buffer("scale", scale.scale.cpu()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        """The capability of x."""
        if self.input_name == "image":
            x = (x - self.shift) / self.scale
        return self.function(self.method, x).float()


TASK = "predict_"
"""Begins the name of the graph of a further task."""
MEANS = {
    "predict": "probabilities (B, K) of the classes",
    "embed": "features (B, D)",
    "reconstruct": "the image as the model gives it back, (B, C, H, W) in [0, 1]",
    "translate_a_to_b": "the image in domain B, (B, C, H, W) in [0, 1]",
    "translate_b_to_a": "the image in domain A, (B, C, H, W) in [0, 1]",
    "decode": "the image (B, C, H, W) in [0, 1] of a code",
}


def graphs(model: TrainedModel, method: Method) -> dict[str, Graph]:
    """A graph for each capability that is a function of an image or of a code.

    Args:
        model: says what can be done and how pixels are normalised.
        method: what does it; the model's own, or a copy of it.
    """
    can, found = model.capabilities, {}

    def of_image(name: str, function: Callable[[Any, Tensor], Tensor]) -> None:
        found[name] = Graph(method, function, model.scale)

    if "predict" in can and model.method.classifies:
        of_image("predict", lambda m, x: m.probabilities(m.predict(x)))
    if isinstance(model.method, PredictsTasks):
        for task in model.method.tasks:
            if task.name != LABEL:
                name = f"{TASK}{_slug(task.name)}"
                of_image(name, partial(_of_task, task.name))
                if task.classes is None:
                    found[name].unit = model.info.attributes[task.name].std
    if "embed" in can:
        of_image("embed", lambda m, x: m.embed(x))
    if "reconstruct" in can:
        of_image("reconstruct", lambda m, x: m.reconstruct(x))
    if "translate" in can:
        of_image("translate_a_to_b", lambda m, x: m.translate(x, "a_to_b"))
        of_image("translate_b_to_a", lambda m, x: m.translate(x, "b_to_a"))
    if "interpolate" in can:
        found["decode"] = Graph(method, lambda m, z: m.decode(z), None)
    return {name: graph.eval() for name, graph in found.items()}


def means(name: str) -> str:
    """What a graph of that name gives."""
    if name.startswith(TASK):
        return (
            "probabilities (B, K) of its classes, or a number (B,), held against the original in "
            "standard deviations of its column"
        )
    return MEANS[name]


def _of_task(task: str, method: Any, x: Tensor) -> Tensor:
    found: Tensor = method.predict_tasks(x)[task]
    return found


def _slug(name: str) -> str:
    """A column's name as a part of a file's."""
    return re.sub(r"[^\w-]+", "-", name)


def inference_state(method: Method) -> dict[str, Tensor]:
    """The tensors that the capabilities need, each its own, in the order of the method's state."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in method.state_dict().items()
        if name.startswith(method.inference)
    }


def stripped(method: Method) -> Method:
    """A copy in which all else is not a number, so that using any of it would be seen."""
    copy = deepcopy(method).to(memory_format=torch.contiguous_format)
    kept = inference_state(method)
    with torch.no_grad():
        for name, tensor in copy.state_dict().items():
            if name not in kept and tensor.is_floating_point():
                tensor.fill_(float("nan"))
    return copy
