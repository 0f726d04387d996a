"""The card of an export: the network, its data, its metrics, and how to use the files."""

import shlex
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from dlrun.errors import UserError
from dlrun.export.check import BATCHES, TOLERANCE, Images
from dlrun.files import write_json
from dlrun.registry import lookup
from dlrun.runs.folder import RunFolder
from dlrun.runs.provenance import brief
from dlrun.runs.run import Run
from dlrun.runs.status import read_status
from dlrun.use import TrainedModel

FILE = "card.json"


@dataclass(frozen=True)
class File:
    """A file of the export: its content, its size in bytes, its largest difference from the
    original, and the lines of Python that build its network.
    """

    what: str
    bytes: int
    difference: float
    code: tuple[str, ...] = ()


def write(
    model: TrainedModel,
    folder: RunFolder | None,
    images: Images,
    exported: dict[str, File],
    target: Path,
) -> None:
    """Writes card.json, and README.md with the same for people."""
    config, info, scale = model.config, model.info, model.scale
    run = None if folder is None else Run(folder.path)
    status = None if folder is None else read_status(folder)
    summary = run.summary if run else {}
    content = {
        "method": config["method"]["name"],
        "model": config["model"],
        "dataset": {
            "name": config["dataset"]["name"],
            "licence": _licence(config["dataset"]["name"], own_code=not model.is_file),
            "checksum": info.checksum,
            "class_names": list(info.class_names),
            "domains": list(model.domains),
        },
        "image_shape": list(model.image_shape),
        "normalisation": {"shift": scale.shift.tolist(), "scale": scale.scale.tolist()},
        "capabilities": list(model.capabilities),
        "run": run.name if run else None,
        "status": status.state if status else None,
        "step": model.step,
        "metrics": {
            "val": {"step": model.content.get("val_step"), **model.val},
            "test": {k: v for k, v in summary.get("test", {}).items() if k in ("last", "best")},
            "best_chosen_by": summary.get("key_metric"),
        },
        "files": {name: asdict(file) for name, file in exported.items()},
        "check": {
            "images": len(images.table),
            "of": "noise" if images.warning else "the test split",
            "warning": images.warning,
            "tolerance": TOLERANCE,
            "batches": list(BATCHES),
        },
        "reproduce": _command(model, run),
        "trained_with": model.content.get("provenance"),
        "exported_with": brief(),
        "config": config,
    }
    write_json(target / FILE, content)
    (target / "README.md").write_text(_readme(content), encoding="utf-8")


def _licence(dataset: str, own_code: bool) -> str:
    try:
        licence: str = lookup("dataset", dataset, own_code).licence
    except UserError:  # the user's own class, which is not in this folder
        return "not stated"
    return licence


def _command(model: TrainedModel, run: Run | None) -> str | None:
    """The command that started the run."""
    if run and run.folder.typed_commands():
        return run.folder.typed_commands()[0].split(" ", 2)[-1]
    written = model.content.get("provenance", {}).get("command")
    return None if written is None else str(written)


def _readme(card: dict[str, Any]) -> str:
    """The card for people."""
    from jinja2 import Environment, StrictUndefined

    numbers = {f"test, {which}": values for which, values in card["metrics"]["test"].items()}
    step, *val = card["metrics"]["val"].items()
    if val:
        numbers[f"val, step {step[1]}"] = dict(val)
    options = shlex.join(f"{key}={value}" for key, value in card["model"].items())
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    text = (files("dlrun.export") / "README.md.j2").read_text(encoding="utf-8")
    return environment.from_string(text).render(card, numbers=numbers, options=options)
