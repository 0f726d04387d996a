"""A run that is killed at random instants and resumed ends as if nothing had happened.

Every method in both precisions, in processes of their own. Each run is killed one to three times,
at any moment from its start on, then brought to its end and compared with an undisturbed one:
weights, metrics, pictures, summary, TensorBoard.
"""

import json
import random
import shutil
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from project import (
    METHODS,
    assert_same,
    command,
    make_project,
    only_run,
    rows,
    start,
    tensorboard,
    train_teacher,
)

from dlrun.training import checkpoint

_STEPS = 24
_LIMIT = 300.0  # seconds for a run of a second
_CLOCK = ("seconds", "test_seconds", "images_per_second", "peak_memory_bytes")


def campaign(rng: random.Random, size: int, folder: Path) -> Iterator[str | None]:
    project = make_project(folder, images=80)
    train_teacher(project)
    kinds = list(product(METHODS, ("fp32", "bf16")))
    rng.shuffle(kinds)
    undisturbed: dict[tuple[str, str], tuple[Path, float]] = {}
    for number in range(size):
        method, precision = kind = kinds[number % len(kinds)]
        hardware = ["hardware=cpu", "hardware.threads=1", f"hardware.precision={precision}"]
        options = [f"steps={_STEPS}", *hardware]
        arguments = command(method, *options)
        try:
            if kind not in undisturbed:
                outputs, began = project / f"{method}-{precision}", time.monotonic()
                _to_the_end(project, [*arguments, f"outputs={outputs}"])
                undisturbed[kind] = only_run(outputs), time.monotonic() - began
            outputs = project / f"killed-{number}"
            told = _kill(rng, project, [*arguments, f"outputs={outputs}"], undisturbed[kind][1])
            _compare(undisturbed[kind][0], only_run(outputs))
            shutil.rmtree(outputs)
            yield None
        except AssertionError as error:
            yield f"trial {number}, {method}, {precision}, {told}: {error}"


def _kill(rng: random.Random, project: Path, arguments: list[str], seconds: float) -> str:
    """Kills the run some times and brings it to its end; says when."""
    outputs, instants = Path(arguments[-1].removeprefix("outputs=")), []
    kills = rng.randint(1, 3)
    while len(instants) < kills:
        process = start(project, *_next(arguments, outputs))
        instants.append(rng.uniform(0, seconds))
        time.sleep(instants[-1])
        process.kill()
        if process.wait(_LIMIT) == 0 and len(instants) == 1:  # too late: the first kill counts
            shutil.rmtree(outputs)
            instants.clear()
    _to_the_end(project, _next(arguments, outputs))
    return f"killed after {', '.join(f'{instant:.2f} s' for instant in instants)}"


def _next(arguments: list[str], outputs: Path) -> list[str]:
    """What a person types: the same again where no run is there yet, and otherwise `resume`."""
    folders = [path.parent for path in outputs.rglob("config.yaml")]
    if folders and (folders[0] / "status.json").exists():
        return ["resume", str(folders[0])]
    shutil.rmtree(outputs, ignore_errors=True)
    return arguments


def _to_the_end(project: Path, arguments: list[str]) -> None:
    process = start(project, *arguments)
    told = process.communicate(_LIMIT)[0]
    assert process.returncode == 0, f"exit code {process.returncode}: {told[-500:]}"


def _without_times(found: Any) -> Any:
    if isinstance(found, list):
        return [_without_times(item) for item in found]
    if isinstance(found, dict):
        return {key: _without_times(item) for key, item in found.items() if key not in _CLOCK}
    return found


def _compare(whole: Path, killed: Path) -> None:
    """Raises AssertionError, which names what differs."""
    for name in ("last.pt", "best.pt"):
        assert (whole / "checkpoints" / name).exists() == (killed / "checkpoints" / name).exists()
        if (whole / "checkpoints" / name).exists():
            a, b = (checkpoint.load(run / "checkpoints" / name) for run in (whole, killed))
            assert_same(a, b, name)
    assert rows(whole) == rows(killed), "metrics.jsonl differs"
    summaries = [
        _without_times(json.loads((run / "summary.json").read_text())) for run in (whole, killed)
    ]
    for key in summaries[0]:
        assert summaries[0][key] == summaries[1][key], f"summary.json: {key}"
    pictures = [
        {path.name: path.read_bytes() for path in (run / "samples").iterdir()}
        for run in (whole, killed)
    ]
    assert pictures[0] == pictures[1], "samples differ"
    events = [tensorboard(run) for run in (whole, killed)]
    steps = [[event[:2] for event in found] for found in events]
    assert steps[0] == steps[1], f"TensorBoard: {set(steps[0]) ^ set(steps[1]) or 'steps twice'}"
    assert events[0] == events[1], "TensorBoard: values differ"
