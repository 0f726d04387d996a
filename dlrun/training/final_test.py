"""The end of a run: one evaluation on the test split, and its summary."""

import hashlib
import json
import math
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch

from dlrun.config.typed import to_plain_types
from dlrun.errors import Interrupted
from dlrun.evaluation.baselines import too_large, trivial
from dlrun.evaluation.evaluate import evaluate, teacher_predictions
from dlrun.evaluation.generated import generates
from dlrun.evaluation.inference import Inference
from dlrun.evaluation.metrics import to_plain
from dlrun.files import cache_folder, peek_json, write_json
from dlrun.methods.base import Method
from dlrun.models.pretrained import load_weights
from dlrun.runs.folder import RunFolder
from dlrun.runs.loggers import Tracker
from dlrun.runs.run import Run
from dlrun.runs.signals import StopRequest
from dlrun.training import checkpoint
from dlrun.training.assemble import Experiment, build_method
from dlrun.training.inputs import demand_run
from dlrun.training.loop import Progress
from dlrun.training.teacher import side_by_side

_BASELINES = 3  # goes into the key of what is kept: raise it when `trivial` changes
_FRACTIONS = ("accuracy", "knn", "recall_at_1")  # key metrics of methods, in [0, 1]
_FAR = 0.2  # between val and test


def inference_of(experiment: Experiment, method: Method) -> Inference:
    """`method` with the experiment's data, device and precision."""
    hardware = experiment.hardware
    return Inference(
        method, experiment.data, experiment.scale, hardware.device, hardware.memory_format,
        hardware.autocast,
    )  # fmt: skip


def final_test(
    experiment: Experiment,
    folder: RunFolder,
    tracker: Tracker,
    progress: Progress,
    stop: StopRequest,
    compared: Mapping[str, RunFolder],
) -> dict[str, Any]:
    """The summary: the test split under the last weights, the best, untrained ones, and baselines.

    Args:
        experiment: that was trained.
        folder: of its run, with the best checkpoint.
        tracker: logs the metrics.
        progress: how far the run has come.
        stop: asked between two evaluations.
        compared: the folders of runs that it is compared with, by role.

    Raises:
        Interrupted: stopped on request; nothing is lost.
    """
    config, method = experiment.config, experiment.method
    started = time.monotonic()
    taught = teacher_predictions(inference_of(experiment, method), experiment.data.test)

    def test(subject: Method) -> dict[str, float]:
        if stop.signal is not None:
            raise Interrupted(
                stop.signal, f"stopped at step {progress.step}, before the test; saved"
            )
        return evaluate(inference_of(experiment, subject), "test", config.seed, taught=taught)

    last = test(method)
    epochs = experiment.total_steps / experiment.steps_per_epoch
    other = build_method(config, experiment.data, experiment.trained, epochs)[0]
    other.to(experiment.hardware.device).to(memory_format=experiment.hardware.memory_format)
    untrained = test(other)
    best = last
    if progress.best_step not in (None, progress.step):
        kept = checkpoint.load_own(folder, folder.best, experiment.hardware.device)
        demand_run(kept, str(folder.best))
        load_weights(other, kept["method"], str(folder.best))
        best = test(other)
    baseline, left_out = _trivial(experiment, last)
    others = {
        role: {kind: Run(other.path).test(kind) for kind in ("last", "best")}
        for role, other in compared.items()
    }
    networks = side_by_side(
        inference_of(experiment, method),
        {"last": last, "best": best},
        others.get("baseline"),
        taught,
    )
    key, data = method.key_metric, experiment.data
    named = {f"test/last/{name}": value for name, value in last.items()}
    named |= {f"test/best/{name}": value for name, value in best.items()}
    tracker.scalars(progress.step, named)
    images = progress.step * config.batch_size * config.accumulate
    ends = {"last": last[key], "best": best[key]} if key in last else {}
    tracker.summary(progress.step, progress.seconds, images, ends)
    return {
        "method": config.method.name,
        "dataset": config.dataset.name,
        "seed": config.seed,
        "steps": progress.step,
        "seconds": round(progress.seconds, 2),
        "test_seconds": round(time.monotonic() - started, 2),
        "images_per_second": round(images / progress.seconds, 1) if progress.seconds else None,
        "peak_memory_bytes": _peak_memory(experiment),
        "hardware": experiment.hardware.line,
        "key_metric": key,
        "metrics": to_plain(method.metrics),
        "best": {"step": progress.best_step or progress.step, "val": progress.best_value},
        "warnings": [*progress.warnings, *_far_from_val(experiment, progress, best), *left_out],
        "networks": networks,
        "generates": generates(method),
        "positive": None if data.positive is None else data.class_names[data.positive],
        "compared": {role: test["last"] for role, test in others.items() if test["last"]},
        "test": {"trivial": baseline, "untrained": untrained, "last": last, "best": best},
    }


def _far_from_val(experiment: Experiment, progress: Progress, best: dict[str, float]) -> list[str]:
    """A line where the best epoch does much better on val than on test, beyond chance."""
    key, data = experiment.method.key_metric, experiment.data
    val, test = progress.best_value, best.get(key or "")
    if val is None or test is None or key not in _FRACTIONS or val - test < _FAR:
        return []
    spread = math.sqrt(0.25 / len(data.val) + 0.25 / len(data.test))
    if val - test < 4 * spread:
        return []
    return [
        f"{key} is {val:.3f} on val, but {test:.3f} on test: the val images are not like the test "
        "images; val, which chose the epoch, may be too easy or too like train"
    ]


def _trivial(
    experiment: Experiment, numbers: dict[str, float]
) -> tuple[dict[str, float], list[str]]:
    """The baselines without training, and a line for those that would take too long.

    A function of the data, so computed once and cached. Neighbours and a linear layer of raw pixels
    take longer than some trainings.
    """
    config, data, method = experiment.config, experiment.data, experiment.method
    code_dim = getattr(method, "code_dim", 0)
    inference = inference_of(experiment, method)
    decoded = inference.decoded(data.train), inference.decoded(data.test)
    names = sorted(name for name in numbers if "/" not in name)
    of = [_BASELINES, data.checksum, to_plain_types(config.dataset), names, code_dim]
    of += [hashlib.sha256(rows.numpy().tobytes()).hexdigest() for rows in decoded]
    digest = hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:32]
    kept = cache_folder(config.data_dir) / "baselines" / f"{digest}.json"
    found = peek_json(kept)
    if not found:
        found = trivial(data, "test", numbers, code_dim, decoded)
        with suppress(OSError):  # a cache that cannot be written is no reason to lose a run
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, found)
    reason = too_large(data, numbers, code_dim)
    return found, [reason] if reason else []


def _peak_memory(experiment: Experiment) -> int | None:
    """Of the GPU, or of this process on the CPU, in bytes."""
    if experiment.hardware.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
