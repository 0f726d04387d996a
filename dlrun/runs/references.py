"""Runs that a config names, such as `method.teacher=last`, settled to paths at the start."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlrun.errors import UserError
from dlrun.runs.select import find_run
from dlrun.text import short

_KEYS = ("init_from", "teacher")


def settle(plain: dict[str, Any], memo: dict[str, str] | None = None) -> list[str]:
    """Replaces each reference in `plain` by a path, in place; gives a line for each that is wrong.

    'last' or the beginning of a name mean something else tomorrow; a path does not. `memo` holds
    what a reference was found to mean, so that all jobs of a sweep mean the same by it.
    """
    memo = {} if memo is None else memo
    outputs, problems = Path(str(plain.get("outputs"))), []
    for section, key in _references({name: plain.get(name) for name in ("method", "model")}):
        given = section[key]
        try:
            memo.setdefault(given, "")
            memo[given] = memo[given] or short(located(given, outputs, key))
            section[key] = memo[given]
        except UserError as error:
            problems.append(str(error))
            del memo[given]
    return problems


def _references(section: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _references(value)
        elif key in _KEYS and isinstance(value, str):
            yield section, key


def located(reference: str, outputs: Path, key: str) -> Path:
    """The checkpoint file, or the folder of the complete run, that is meant.

    Raises:
        UserError: there is no such run or file, or the run is not complete.
    """
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    run = find_run(reference, outputs)
    if not run.is_complete:
        state = f"is {run.state} at step {run.step}" if run.status else "has not begun"
        raise UserError(
            f"{key}: {run.folder} {state}; finish it with dlrun resume {run.name}, or name one of "
            f"the files in {run.folder}/checkpoints"
        )
    return run.path
