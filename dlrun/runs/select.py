"""Which runs RUN, SWEEP and FILTER mean; the same for every command."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import UserError
from dlrun.runs.filters import filtered, is_filter, nothing_found, parse_filter
from dlrun.runs.run import Run, runs_below


class NothingSelected(UserError):
    """What was asked for exists, but no run fits; says why."""


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
    names, filters = [], []
    for text in given:
        if is_filter(text) and not Path(text).expanduser().exists():
            filters.append(parse_filter(text))
        else:
            names.append(text)
    if not names and not outputs.is_dir():
        raise UserError(f"{outputs}: no such folder; runs are made by `dlrun train`")
    found: dict[str, Run] = {}
    places = []
    for name in names or [str(outputs)]:
        place, runs = _meant(name, outputs)
        places.append(place)
        for run in runs:  # two names can lead to the same run by different paths
            path = os.path.realpath(run.path) if len(names) > 1 else str(run.path)
            found.setdefault(path, run)
    everything = list(found.values())
    if not everything:
        raise NothingSelected(f"no run below {places[0]} yet; `dlrun train` makes one")
    runs = filtered(everything, filters)
    if not runs:
        raise NothingSelected(nothing_found(everything, filters))
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
    path = Path(given).expanduser()
    if (path / "config.yaml").exists():
        return _run_in(path)
    runs = runs_below(outputs)
    matching = _named(given, runs)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UserError(_several(given, [run.name for run in matching], "runs"))
    if path.is_dir():
        raise UserError(f"{given}: not a run (no config.yaml)")
    raise UserError(f"{given}: no run of that name below {outputs}{_latest(runs)}")


def sweep_names(outputs: Path, beginning: str = "") -> list[str]:
    """The sweeps below `outputs` whose names begin like that."""
    folders = (outputs / "sweeps").glob("*/")
    return sorted(path.name for path in folders if path.name.startswith(beginning))


def _meant(given: str, outputs: Path) -> tuple[Path, list[Run]]:
    """The run or the folder of runs, and the runs."""
    path, sweeps = Path(given).expanduser(), outputs / "sweeps"
    if (path / "config.yaml").exists():
        return _absolute(path), [_run_in(path)]
    if path.is_dir():
        return _absolute(path), runs_below(path)
    names = sweep_names(outputs, given) if given else []
    if given not in names:
        runs = runs_below(outputs)
        matching = _named(given, runs)
        if len(matching) == 1:
            return matching[0].path, matching
        if matching:
            raise UserError(_several(given, [run.name for run in matching], "runs"))
        if len(names) > 1:
            raise UserError(_several(given, names, "sweeps"))
        if not names:
            place = f"folder, nor a run or sweep of that name below {outputs}"
            raise UserError(f"{given}: no such {place}{_latest(runs)}")
    sweep = sweeps / (given if given in names else names[0])
    return _absolute(sweep), runs_below(sweep)


def _named(given: str, runs: list[Run]) -> list[Run]:
    """Those of `runs`, oldest first, that a name can mean."""
    if given == "last" and runs:
        return [runs[-1]]
    return (
        [run for run in runs if run.name == given]
        or [run for run in runs if run.name.split("-", 3)[3:] == [given]]
        or [run for run in runs if given and run.name.startswith(given)]
    )


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
    return f"{given}: {len(names)} {what} begin like this ({', '.join(names[:5])}); type more of it"
