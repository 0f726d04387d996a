"""Which runs `RUN... | SWEEP` and filters mean."""

from collections.abc import Sequence
from pathlib import Path

from dlrun.errors import UserError
from dlrun.results.filters import chosen, is_filter, nothing_found, parse_filter
from dlrun.runs.cache import records
from dlrun.runs.index import find_run
from dlrun.runs.record import Record, live, read_record


def sweep_folder(given: str, outputs: Path) -> Path | None:
    """The folder of runs that `given` means: a path, or the name of a sweep below `outputs`."""
    for path in (Path(given), outputs / "sweeps" / given):
        if path.is_dir() and not (path / "config.yaml").exists():
            return path
    return None


def select(given: Sequence[str], outputs: Path) -> tuple[list[Record], list[str]]:
    """The runs that are meant, each once, in the order in which they were named.

    Args:
        given: runs (a folder, a name, the beginning of one, `last`), sweeps, folders of runs, and
            filters, which hold for all of them; filters alone choose among all runs.
        outputs: where names are looked for.

    Returns:
        The runs, and lines about the index.

    Raises:
        UserError: nothing of that name, or nothing left.
    """
    filters = [parse_filter(text) for text in given if is_filter(text)]
    places = [text for text in given if not is_filter(text)]
    found: dict[str, Record] = {}
    told: list[str] = []
    for place in places or [str(outputs)]:
        folder = sweep_folder(place, outputs)
        if folder is None:
            path = find_run(place, outputs).path
            found[str(path)] = live(read_record(path))
            continue
        inside, trouble = records(folder)
        if trouble and trouble not in told:
            told.append(trouble)
        if not inside:
            raise UserError(f"{place}: no run in there; runs are made by `dlrun train`")
        found |= {run.path: run for run in inside}
    runs = chosen(list(found.values()), filters)
    if not runs:
        raise UserError(nothing_found(list(found.values()), filters))
    return runs, told
