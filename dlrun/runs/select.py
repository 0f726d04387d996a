"""Which runs RUN, SWEEP and FILTER mean, for every command, and those that a config names."""

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.errors import UserError
from dlrun.files import expanded
from dlrun.runs.filters import Filter, NothingSelected, filtered, parse_filter
from dlrun.runs.run import Run, runs_below
from dlrun.text import echo, short

_REFERENCES = ("init_from", "teacher")
"""Keys of a config whose value is a run or a checkpoint."""


@dataclass(frozen=True)
class Selection:
    """The runs that were asked for, each once, in the order in which they were named."""

    runs: list[Run]
    places: list[Path]
    """What was named: folders of runs, with runs below them, or links to runs."""
    filters: list[str]


def select(given: Sequence[str], outputs: Path) -> Selection:
    """The runs that words on the command line mean.

    Args:
        given: RUN, SWEEP and FILTER as `dlrun ls --help` says, in any order; nothing means all runs
            below `outputs`. A folder that exists is one, even if its name looks like a filter.
        outputs: where names are looked for.

    Raises:
        UserError: a name that is not known, or that more than one run or sweep has.
        NothingSelected: no run is there, or none fits the filters.
    """
    names: list[str] = []
    filters: list[Filter] = []
    for text in given:
        exists = os.path.exists(expanded(text))
        if not exists and (condition := parse_filter(text)) is not None:
            filters.append(condition)
        else:
            names.append(text)
    if not names and not outputs.is_dir():
        raise UserError(f"{outputs}: no such folder; runs are made by `dlrun train`")
    found: dict[str, Run] = {}
    places = []
    for name in names or [str(outputs)]:
        place, runs = _in_place(name, outputs)
        places.append(place)
        for run in runs:  # two names can lead to the same run by different paths
            path = os.path.realpath(run.path) if len(names) > 1 else str(run.path)
            found.setdefault(path, run)
    if not found:
        raise NothingSelected(f"no run below {places[0]} yet; `dlrun train` makes one")
    runs = filtered(list(found.values()), filters)
    return Selection(runs, places, [one.text for one in filters])


def find_run(given: str, outputs: Path) -> Run:
    """The one run that `given` means.

    Args:
        given: a folder, a name, the beginning of one, or `last`, which is the run that began
            last.
        outputs: where names are looked for.

    Raises:
        UserError: none, or more than one.
    """
    path = Path(expanded(given))
    if os.path.exists(path / "config.yaml"):
        return _run_in(path)
    runs = runs_below(outputs)
    if (run := _named(given, runs)) is not None:
        return run
    if os.path.isdir(path):
        raise UserError(f"{echo(given)}: not a run (no config.yaml)")
    raise UserError(f"{echo(given)}: no run of that name below {outputs}{_latest(runs)}")


def _in_place(given: str, outputs: Path) -> tuple[Path, list[Run]]:
    """The run or the folder of runs, and the runs."""
    path = Path(expanded(given))
    if os.path.exists(path / "config.yaml"):
        return _absolute(path), [_run_in(path)]
    if not os.path.isdir(path):
        folders = (outputs / "sweeps").glob("*/") if given else ()
        sweeps = sorted(path.name for path in folders if path.name.startswith(given))
        if given not in sweeps:
            runs = runs_below(outputs)
            if (run := _named(given, runs)) is not None:
                return run.path, [run]
            if len(sweeps) > 1:
                raise UserError(_several(given, sweeps, "sweeps"))
            if not sweeps:
                place = f"folder, nor a run or sweep of that name below {outputs}"
                raise UserError(f"{echo(given)}: no such {place}{_latest(runs)}")
        path = outputs / "sweeps" / (given if given in sweeps else sweeps[0])
    return _absolute(path), runs_below(path)


def _named(given: str, runs: list[Run]) -> Run | None:
    """The one of `runs`, oldest first, that a name means. Raises UserError where it is several."""
    if given == "last" and runs:
        return runs[-1]
    found = (
        [run for run in runs if run.name == given]
        or [run for run in runs if run.name.split("-", 3)[3:] == [given]]
        or [run for run in runs if given and run.name.startswith(given)]
    )
    if len(found) > 1:
        raise UserError(_several(given, [run.name for run in found], "runs"))
    return found[0] if found else None


def _latest(runs: list[Run]) -> str:
    return (f"; the latest is {runs[-1].name}" if runs else "") + "; `dlrun ls` lists them"


def _run_in(path: Path) -> Run:
    """A link is the run that it leads to."""
    if path.is_symlink():
        return Run(path.resolve(), (_absolute(path),))
    return Run(_absolute(path))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _several(given: str, names: Sequence[str], what: str) -> str:
    some = ", ".join(names[:5])
    return f"{echo(given)}: {len(names)} {what} begin like this ({some}); type more of it"


def settle(plain: dict[str, Any], memo: dict[str, str] | None = None) -> list[str]:
    """Replaces the runs that a config names by their paths, in place; a line for each mistake.

    'last' or the beginning of a name mean something else tomorrow; a path does not.

    Args:
        plain: the config.
        memo: from a name to its path, so that all jobs of a sweep mean the same by it; what is
            found is added.
    """
    memo = {} if memo is None else memo
    outputs, problems = Path(expanded(str(plain.get("outputs")))), []
    for section, key in _references({name: plain.get(name) for name in ("method", "model")}):
        given = str(section[key])  # 261126 is the beginning of a name
        try:
            section[key] = memo[given] = memo.get(given) or short(located(given, outputs, key))
        except UserError as error:
            problems.append(str(error))
    return problems


def _references(section: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _references(value)
        elif key in _REFERENCES and value is not None and not isinstance(value, bool):
            yield section, key


def located(reference: str, outputs: Path, key: str) -> Path:
    """The checkpoint file, or the folder of the complete run, that the value of `key` means.

    Raises:
        UserError: there is no such run or file, or the run is not complete.
    """
    path = Path(expanded(reference))
    if os.path.isfile(path):
        return path
    run = find_run(reference, outputs)
    if not run.is_complete:
        begun = run.state != "unknown"
        state = f"is {run.state} at step {run.status.step}" if begun else "has not begun"
        raise UserError(
            f"{key}: {run.folder} {state}; finish it with dlrun resume {shlex.quote(run.name)}, "
            f"or name one of the files in {run.folder}/checkpoints"
        )
    return run.path
