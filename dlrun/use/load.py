"""`dlrun.load`: a run, or a checkpoint that was copied away from it, ready to be used."""

import os
import shlex
from os import PathLike, fspath
from pathlib import Path
from typing import Literal

import torch

from dlrun.config.typed import Typed
from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.methods.base import Builder, Method
from dlrun.models.pretrained import Pretrained, load_weights
from dlrun.registry import lookup
from dlrun.runs.folder import RunFolder
from dlrun.runs.select import find_run
from dlrun.training import checkpoint
from dlrun.training.hardware import pick_device, pick_layout
from dlrun.training.inputs import demand_run, fresh, info_in, trained_of
from dlrun.use.model import TrainedModel

Which = Literal["best", "last"]


def load(
    run: str | PathLike[str],
    which: Which = "best",
    *,
    outputs: str | PathLike[str] = "outputs",
    device: str = "auto",
) -> TrainedModel:
    """A trained run as an object that predicts, embeds, samples, translates ...

        model = dlrun.load("last")
        model.predict("cat.jpg").label

    Needs none of the training's options, nor its data set. Nothing global changes: no seed, thread
    count or default of torch, no state of Hydra.

    Args:
        run: a run's folder, its name, the beginning of its name or `last`; or a checkpoint file,
            wherever it is.
        which: the checkpoint of a run: best, the one with the best val metric, or last, which is
            also used if there is no best one.
        outputs: the folder with the runs, for names.
        device: auto, cpu, cuda or mps.

    Raises:
        UserError: there is no such run; or its checkpoint is damaged, was written by a later
            dlrun, or is a bare file that names code to run.
    """
    path, folder = locate(run, which, outputs)
    content = checkpoint.load(path) if folder is None else checkpoint.load_own(folder, path)
    demand_run(content, str(path))
    source = str(path if folder is None else folder)
    plain = content["config"]
    if folder is not None:  # which says where the data lie now
        here = folder.config_here()
        plain |= {key: here[key] for key in ("dataset", "data_dir") if key in here}
    typed = Typed(own_code=folder is not None)
    choices = {
        group: typed.choice(group, fresh(plain[group]), group)
        for group in ("method", "model", "loss")
    }
    if typed.problems:
        raise UserError(f"{source}: this dlrun cannot build it again ({typed.problems[0]})")
    info = info_in(content, source)
    cls: type[Method] = lookup("method", choices["method"].name)

    def pretrained(reference: str) -> Pretrained:
        """Of a run that this one started from, only the shapes: the checkpoint has the values."""
        if reference not in content["inputs"]:
            raise UserError(f"{source}: it does not describe {reference}, which it started from")
        outline = content["inputs"][reference]
        zeros = {name: torch.zeros(()).expand(size) for name, size in outline["shapes"].items()}
        return trained_of({**outline, "method": zeros}, reference, {})

    build = Builder(
        choices["model"], choices["loss"], info, float(plain.get("epochs", 1)),
        content.get("rows", 0), pretrained=pretrained,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):  # building draws initial weights
        method = cls(choices["method"].options, build)
    load_weights(method, content["method"], str(path))
    method.requires_grad_(False)
    target = pick_device(device)[0]
    layout = pick_layout(plain["hardware"]["memory_format"], target, build.built)
    method.eval().to(memory_format=layout).to(target)
    return TrainedModel(method, info, content, source, target, layout, is_file=folder is None)


def locate(
    run: str | PathLike[str], which: Which = "best", outputs: str | PathLike[str] = "outputs"
) -> tuple[Path, RunFolder | None]:
    """The checkpoint, and the folder of its run; None for a bare file.

    Raises:
        UserError: there is none.
    """
    if which not in ("best", "last"):
        raise UserError(f"which: got {which!r}, expected best or last")
    path = Path(expanded(fspath(run)))
    if os.path.isfile(path):
        return path, None
    folder = find_run(fspath(run), Path(outputs)).folder
    for found in (folder.best, folder.last) if which == "best" else (folder.last,):
        if found.exists():
            return found, folder
    way = (
        "wait for it"
        if folder.in_use()
        else f"train it with `dlrun resume {shlex.quote(folder.name)}`"
    )
    state = "is still training and " if folder.in_use() else ""
    raise UserError(f"{folder}: {state}has no checkpoint yet; {way}")
