"""`dlrun.load`: a run, or a checkpoint that was copied away from it, ready to be used."""

from os import PathLike, fspath
from pathlib import Path
from typing import Literal

from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.runs.select import find_run
from dlrun.training import checkpoint
from dlrun.training.hardware import pick_device
from dlrun.training.outline import demand_run
from dlrun.use.model import TrainedModel
from dlrun.use.rebuild import rebuild

Which = Literal["best", "last"]


def load(
    run: str | PathLike[str],
    which: Which = "best",
    *,
    outputs: str | PathLike[str] = "outputs",
    device: str = "auto",
) -> TrainedModel:
    """What a run has learnt, as an object that predicts, embeds, samples, translates ...

        model = dlrun.load("last")
        model.predict("cat.jpg").label

    No option of the training is repeated and its data set need not be there. Nothing global
    changes: no seed, no thread count, no default of torch, no state of Hydra.

    Args:
        run: a run's folder, its name, the beginning of its name or `last`, or a checkpoint's file,
            wherever it was copied to.
        which: of a run, the epoch with the best val value, or the last one. A run without a best
            epoch gives the last.
        outputs: where runs are looked for by name.
        device: auto, cpu, cuda or mps.

    Raises:
        UserError: there is no such run, or its checkpoint is damaged, from a later dlrun, or, being
            a file, names code to be run.
    """
    path, folder = locate(run, which, outputs)
    content = checkpoint.load(path) if folder is None else checkpoint.load_own(folder, path)
    demand_run(content, str(path))
    source = str(path if folder is None else folder)
    method, info, memory_format = rebuild(content, source, folder)
    where = pick_device(device)[0]
    return TrainedModel(
        method.to(where), info, content, source, where, memory_format, is_file=folder is None
    )


def locate(
    run: str | PathLike[str], which: Which = "best", outputs: str | PathLike[str] = "outputs"
) -> tuple[Path, RunFolder | None]:
    """The checkpoint that is meant, and its run; None for a bare file.

    Raises:
        UserError: there is none.
    """
    if which not in ("best", "last"):
        raise UserError(f"which: got {which!r}, expected best or last")
    path = Path(run).expanduser()
    if path.is_file():
        return path, None
    folder = find_run(fspath(run), Path(outputs)).folder
    best_first = (folder.best, folder.last) if which == "best" else (folder.last,)
    for found in best_first:
        if found.exists():
            return found, folder
    raise UserError(
        f"{folder}: has no checkpoint yet; `dlrun resume {folder.name}` goes on with it"
    )
