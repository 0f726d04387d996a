"""`dlrun export`: files for other programs, each compared with the original first."""

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from dlrun.errors import UserError
from dlrun.export import card
from dlrun.export.check import Images, difference, test_images
from dlrun.export.graphs import filled, graphs, inference_state, program_at, write_program
from dlrun.export.weights import (
    backbone,
    loaded_backbone,
    loaded_safetensors,
    original_backbone,
    write_safetensors,
)
from dlrun.runs.folder import RunFolder
from dlrun.use import TrainedModel

_ENDINGS = {"onnx": ".onnx", "torch_export": ".pt2"}
_NEEDS = {"safetensors": ("safetensors",), "onnx": ("onnx", "onnxscript", "onnxruntime")}


@dataclass
class Export:
    """An export in progress: the files written to `target` so far."""

    model: TrainedModel
    folder: RunFolder | None
    target: Path
    say: Callable[[str], None]
    images: Images
    files: dict[str, card.File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        method = self.model.method
        self.originals = graphs(self.model, method)
        # All other weights are NaN, so that a file that uses one does not pass.
        self.exported = graphs(self.model, filled(method, inference_state(method)))

    @torch.no_grad()
    def inputs(self, name: str) -> Tensor:
        """Of the capability `name`: images in [0, 1], or their codes."""
        unit = self.images.unit
        return unit if self.originals[name].input_name == "image" else self.originals["embed"](unit)

    def compare(self, file: str, functions: dict[str, Callable[[Tensor], Tensor]]) -> float:
        """The largest difference of capabilities, by name. Raises RunFailed."""
        gaps = [0.0]
        for name, function in functions.items():
            inputs, original = self.inputs(name), self.originals[name]
            gaps.append(difference(file, function, inputs, _run(original, inputs), original.unit))
        return max(gaps)

    def done(self, path: Path, what: str, gap: float, code: tuple[str, ...] = ()) -> None:
        """Notes and reports a file that has passed."""
        self.files[path.name] = card.File(what, path.stat().st_size, gap, code)
        of = "the test split" if self.images.warning is None else "NOISE"
        self.say(
            f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, differs from the original by at "
            f"most {gap:.1e} on {len(self.images.table)} images of {of}, in batches of 1 and of 7"
        )


@torch.no_grad()
def _run(network: nn.Module, inputs: Tensor) -> Tensor:
    return torch.cat([network(part) for part in inputs.split(50)])


def with_packages(
    formats: tuple[str, ...], required: bool, say: Callable[[str], None]
) -> tuple[str, ...]:
    """Those of the formats whose packages are installed; the others are told.

    Raises:
        UserError: `required`, and a package is missing.
    """
    needed = [package for name in formats for package in _NEEDS.get(name, ())]
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    here = tuple(name for name in formats if not set(_NEEDS.get(name, ())) & set(missing))
    told = f"needs {', '.join(missing)}; pip install 'dlrun[export]'"
    if missing and required:
        others = ", ".join(name for name in FORMATS if name not in _NEEDS)
        raise UserError(f"--format: {told}, or choose {others}")
    if missing:
        say(f"left out: {', '.join(name for name in formats if name not in here)}, which {told}")
    return here


def require_free(target: Path, force: bool) -> None:
    """Raises UserError if there is something that must not be replaced."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not force:
        raise UserError(f"{target}: exists; --force replaces it, --out names another folder")
    if not (target / card.FILE).exists():
        raise UserError(
            f"{target}: was not written by `dlrun export` (no {card.FILE}); --force will not "
            "replace it"
        )


def export(
    model: TrainedModel,
    folder: RunFolder | None,
    target: Path,
    formats: tuple[str, ...],
    required: bool,
    data_dir: str | None,
    say: Callable[[str], None],
) -> None:
    """Writes the folder `target`, whole or not at all.

    Args:
        model: on the CPU.
        folder: of its run, None for a bare file.
        target: does not exist, or is an older export, which is replaced.
        formats: some of FORMATS.
        required: whether all formats must apply; else those that do not are skipped.
        data_dir: the folder of the run's data set; None: as in its config.
        say: called with a line for each file.

    Raises:
        UserError: a format does not apply, or the folder cannot be written.
        RunFailed: a file does not compute what the original does.
    """
    images = test_images(model, data_dir)
    if images.warning:
        say(f"warning: {images.warning}")
    draft = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        work = Export(model, folder, draft, say, images)
        for name in formats:
            _WRITERS[name](work, name, required)
        if not work.files:
            raise UserError(f"{model}: nothing can be exported as {', '.join(formats)}")
        card.write(work.model, folder, images, work.files, draft)
        if target.exists():
            shutil.rmtree(target)
        draft.rename(target)
    except OSError as error:
        if error.filename and not Path(error.filename).is_relative_to(target.parent):
            raise  # of what is read meanwhile
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_safetensors(work: Export, name: str, required: bool) -> None:
    path = work.target / "model.safetensors"
    write_safetensors(work.model, path)
    loaded = graphs(work.model, loaded_safetensors(work.model, path))
    gap = work.compare(path.name, dict(loaded))
    work.done(path, "the weights that inference needs, by their names in dlrun", gap)


def _write_backbone(work: Export, name: str, required: bool) -> None:
    model, found = work.model, backbone(work.model)
    if found is None:
        reason = f"torchvision: {model.config['method']['name']} has no backbone"
        if required:
            raise UserError(f"--format {reason}; its networks are in the other formats")
        work.say(f"{reason}, skipped")
        return
    path = work.target / "backbone.pth"
    torch.save(found.state, path)
    loaded, original = loaded_backbone(model, found, path), original_backbone(model)
    inputs = model.scale.from_unit(work.images.unit)
    gap = difference(path.name, loaded, inputs, _run(original, inputs).float())
    head = " and its classifier" if "head" in model.method.parts else ""
    what = f"state dict of the backbone{head}, by "
    if found.code:
        what += "torchvision's names; takes normalised images"
    else:
        what += f"the names of dlrun's model {model.config['model']['name']}"
        what += ", the classifier below head" if head else ""
    work.done(path, what, gap, found.code)


def _write_programs(work: Export, name: str, required: bool) -> None:
    for capability, graph in work.exported.items():
        path = work.target / f"{capability}{_ENDINGS[name]}"
        write_program(graph, work.inputs(capability)[:2].clone(), path)
        gap = work.compare(path.name, {capability: program_at(path, graph.input_name)})
        work.done(path, str(graph), gap)


_WRITERS: dict[str, Callable[[Export, str, bool], None]] = {
    "safetensors": _write_safetensors,
    "torchvision": _write_backbone,
    "onnx": _write_programs,
    "torch_export": _write_programs,
}
FORMATS = tuple(_WRITERS)
