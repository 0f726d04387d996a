"""Each capability of a method as a module that takes raw pixels, and as a program without dlrun.

Programs are of torch.export or ONNX, of any batch size.
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlrun.data.table import PixelScale
from dlrun.errors import RunFailed
from dlrun.methods.abilities import PredictsTasks
from dlrun.methods.base import Method
from dlrun.use import TrainedModel
from dlrun.use.model import LABEL


class Graph(nn.Module):
    """A capability: a float32 input (B, ...) to a float32 output (B, ...).

    `input_name` is `image`, (B, C, H, W) in [0, 1], normalised inside; or `code`, (B, D).
    `output` describes what it returns. Differences are measured in `unit`: for a number, the
    standard deviation of its column.
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        method: Method,
        function: Callable[[Any, Tensor], Tensor],
        scale: PixelScale | None,
        output: str,
        unit: float = 1.0,
    ) -> None:
        super().__init__()
        self.method, self.function, self.output, self.unit = method, function, output, unit
        self.input_name = "code" if scale is None else "image"
        if scale is not None:
            self.register_buffer("shift", scale.shift.cpu()[:, None, None].clone())
            self.register_buffer("scale", scale.scale.cpu()[:, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        """The capability of x."""
        if self.input_name == "image":
            x = (x - self.shift) / self.scale
        return self.function(self.method, x).float()

    def __str__(self) -> str:
        """Its input and its output."""
        inputs = {
            "image": "float32 (B, C, H, W) in [0, 1], RGB or grey; normalised inside",
            "code": "float32 (B, D), as embed returns it; for a sample, drawn from N(0, 1)",
        }
        return f"{self.input_name}: {inputs[self.input_name]}; returns {self.output}"


def graphs(model: TrainedModel, method: Method) -> dict[str, Graph]:
    """A graph for each capability that is a function of an image or of a code.

    `method` computes it: that of `model`, or a copy.
    """
    can, trained = model.capabilities, model.method
    found: dict[str, Graph] = {}
    image = "(B, C, H, W) in [0, 1]"

    def add(name: str, output: str, function: Callable[[Any, Tensor], Tensor]) -> None:
        found[name] = Graph(method, function, model.scale, output)

    if "predict" in can and trained.classifies:
        classes = "probabilities (B, K) of the classes"
        add("predict", classes, lambda m, x: m.probabilities(m.predict(x)))
    for task in trained.tasks if isinstance(trained, PredictsTasks) else ():
        if task.name == LABEL:
            continue
        name = "predict_" + re.sub(r"[^\w-]+", "-", task.name)
        add(name, "probabilities (B, K) of its classes", partial(_task, task.name))
        if task.classes is None:
            found[name].output = "a number (B,), compared in standard deviations of its column"
            found[name].unit = model.info.attributes[task.name].std
    if "embed" in can:
        add("embed", "features (B, D)", lambda m, x: m.embed(x))
    if "reconstruct" in can:
        add("reconstruct", f"the reconstruction {image}", lambda m, x: m.reconstruct(x))
    if "translate" in can:
        output = f"the image {image} in domain"
        add("translate_a_to_b", f"{output} B", lambda m, x: m.translate(x, "a_to_b"))
        add("translate_b_to_a", f"{output} A", lambda m, x: m.translate(x, "b_to_a"))
    if "interpolate" in can:
        output = f"the image {image} of a code"
        found["decode"] = Graph(method, lambda m, z: m.decode(z), None, output)
    return {name: graph.eval() for name, graph in found.items()}


def _task(name: str, method: Any, x: Tensor) -> Tensor:
    predicted: Tensor = method.predict_tasks(x)[name]
    return predicted


def inference_state(method: Method) -> dict[str, Tensor]:
    """Copies of the tensors that the capabilities need, in the order of the method's state."""
    return {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in method.state_dict().items()
        if name.startswith(method.inference)
    }


def filled(network: nn.Module, state: dict[str, Tensor]) -> Any:
    """A copy with the tensors of `state`; all others are NaN, so that using one is noticed."""
    copy = deepcopy(network).to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        for tensor in copy.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(float("nan"))
    copy.load_state_dict(state, strict=False)
    return copy.eval()


def write_program(graph: Graph, example: Tensor, path: Path) -> None:
    """Writes a .pt2 of torch.export or a .onnx, by the path's ending.

    Args:
        graph: on the CPU.
        example: an input of two or more rows; a batch of one would become a constant.
        path: of the file.

    Raises:
        RunFailed: torch cannot export the graph.
    """
    try:
        with _quiet():
            program = torch.export.export(
                graph, (example,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)
            )
            if path.suffix == ".pt2":
                torch.export.save(program, path)
                return
            torch.onnx.export(
                program, (example,), path, input_names=[graph.input_name], output_names=["output"],
                dynamo=True, external_data=False, verbose=False,
            )  # fmt: skip
    except Exception as error:  # torch.export has no common class for its errors
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        raise RunFailed(f"{path.name}: torch cannot export it ({first})") from error


def program_at(path: Path, input_name: str) -> Callable[[Tensor], Tensor]:
    """The program in the file, run by its own runtime on the CPU."""
    if path.suffix == ".pt2":
        module: Any = torch.export.load(path).module()
        return lambda x: module(x)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {input_name: x.numpy()})[0])


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides what torch's exporters log for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
