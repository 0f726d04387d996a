"""Graphs as programs that run without dlrun: torch.export and ONNX, of any batch size."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlrun.errors import RunFailed
from dlrun.export.graphs import Graph

Function = Callable[[Tensor], Tensor]


def write_program(graph: Graph, example: Tensor, path: Path) -> None:
    """To a .pt2 of torch.export or a .onnx, by the path's ending.

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


def program_at(path: Path, input_name: str) -> Function:
    """The file on the disk, run by its own runtime on the CPU."""
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
    """Without the messages of torch's exporters for their own developers."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
