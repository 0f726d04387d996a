"""The card of an export: the network, its data, its metrics, and how to use the files."""

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dlrun.errors import UserError
from dlrun.export.check import BATCHES, TOLERANCE, Images
from dlrun.files import read_json, write_json
from dlrun.registry import lookup
from dlrun.runs.folder import RunFolder
from dlrun.runs.provenance import brief
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
    files: dict[str, File],
    target: Path,
) -> None:
    """Writes card.json, and README.md with the same for people."""
    config, info, scale = model.config, model.info, model.scale
    status = read_status(folder) if folder is not None else None
    summary = read_json(folder.summary) if folder is not None else {}
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
        "run": None if folder is None else folder.name,
        "status": None if status is None else status.state,
        "step": model.step,
        "metrics": {
            "val": {"step": model.content.get("val_step"), **model.val},
            "test": {k: v for k, v in summary.get("test", {}).items() if k in ("last", "best")},
            "best_chosen_by": summary.get("key_metric"),
        },
        "files": {name: asdict(file) for name, file in files.items()},
        "check": {
            "images": len(images.table),
            "of": "noise" if images.warning else "the test split",
            "warning": images.warning,
            "tolerance": TOLERANCE,
            "batches": list(BATCHES),
        },
        "reproduce": _command(model, folder),
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


def _command(model: TrainedModel, folder: RunFolder | None) -> str | None:
    """The command that started the run."""
    if folder is not None and folder.commands.exists():
        first = folder.commands.read_text(encoding="utf-8").splitlines()[:1]
        return first[0].split(" ", 2)[-1] if first else None
    written = model.content.get("provenance", {}).get("command")
    return None if written is None else str(written)


def _readme(card: dict[str, Any]) -> str:
    data = card["dataset"]
    height, width = card["image_shape"][1:]
    colours = "RGB" if card["image_shape"][0] == 3 else "grey"
    norm = card["normalisation"]
    parts = [
        f"# {card['method']} on {data['name']}",
        f"Trained by dlrun, run {card['run'] or 'not known'} "
        f"({card['status'] or 'status not known'}), at step {card['step']:,}.",
        f"- model: `{shlex.join(f'{k}={v}' for k, v in card['model'].items())}`\n"
        f"- data: {data['name']}, licence: {data['licence']}\n"
        f"- images: {colours}, {height} x {width}; as float32 in [0, 1], then "
        f"`(x - {norm['shift']}) / {norm['scale']}` for each channel\n"
        f"- classes: {', '.join(data['class_names']) or 'none'}\n"
        f"- reproduce: `{card['reproduce'] or 'not known'}`",
        "## Metrics",
        _metrics(card["metrics"]),
        "## Files",
        _files(card),
    ]
    return "\n\n".join(parts) + "\n"


def _metrics(metrics: dict[str, Any]) -> str:
    rows = [(f"test, {which}", numbers) for which, numbers in metrics["test"].items()]
    val = {k: v for k, v in metrics["val"].items() if k != "step"}
    if val:
        rows.append((f"val, step {metrics['val']['step']}", val))
    if not rows:
        return "None: the run was not evaluated."
    lines = ["| split, checkpoint | metric | value |", "| --- | --- | --- |"]
    for name, numbers in rows:
        lines += [f"| {name} | {key} | {value:.4g} |" for key, value in numbers.items()]
    chosen = metrics["best_chosen_by"]
    note = f"\n\nThe best checkpoint was chosen by {chosen} on val, not on test." if chosen else ""
    return "\n".join(lines) + note


def _files(card: dict[str, Any]) -> str:
    check = card["check"]
    lines = [
        f"Each was compared with the original on {check['images']} images of {check['of']}, in "
        "batches of 1 and of 7."
    ]
    lines += [
        f"- `{name}`: {file['what']}. Largest difference {file['difference']:.1e}."
        for name, file in card["files"].items()
    ]
    for name, file in card["files"].items():
        if file["code"]:
            load = f"m.load_state_dict(torch.load('{name}', weights_only=True))"
            lines += ["", "```python", *file["code"], load, "m.eval()", "```"]
    return "\n".join(lines)
