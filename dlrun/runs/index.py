"""Finding runs by folder, name, what the user has called them, or the beginning of a name."""

from collections.abc import Iterator
from pathlib import Path

from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.runs.scan import scan


def all_runs(outputs: Path) -> Iterator[RunFolder]:
    """Every run below `outputs`, oldest first."""
    for found in scan(outputs):
        yield RunFolder(Path(found.path))


def find_run(given: str, outputs: Path) -> RunFolder:
    """The run that `given` means: a folder, or a name below `outputs`, or the beginning of one.

    Of `260101-101500-abcd-mine`, begun with name=mine, `mine` is a name as well. `last` is the run
    that began last.

    Raises:
        UserError: none, or more than one.
    """
    path = Path(given)
    if (path / "config.yaml").exists():
        return RunFolder(path.absolute())
    runs = list(all_runs(outputs))
    if given == "last" and runs:
        return runs[-1]
    matching = (
        [run for run in runs if run.name == given]
        or [run for run in runs if run.name.split("-", 3)[3:] == [given]]
        or [run for run in runs if run.name.startswith(given)]
    )
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(run.name for run in matching[:5])
        raise UserError(
            f"{given}: {len(matching)} runs are called that or begin like it ({names}); give "
            "more of the name"
        )
    if path.is_dir():
        raise UserError(f"{given}: no run there (no config.yaml)")
    latest = f"; the latest is {runs[-1].name}" if runs else ""
    raise UserError(f"{given}: no run of that name below {outputs}{latest}; `dlrun ls` lists them")
