"""What a person means by a run or a sweep, and where its report goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dlrun.errors import UserError
from dlrun.runs.folder import RunFolder
from dlrun.runs.index import all_runs, find_run

REPORT = "report.html"


@dataclass(frozen=True)
class Selection:
    """The runs of a report, its title, and the file it goes to unless another is given."""

    runs: tuple[RunFolder, ...]
    title: str
    out: Path


def select(given: Sequence[str], outputs: Path) -> Selection:
    """The runs of every word of `given`: folders and names of runs, or of sweeps.

    Args:
        given: a run as `find_run` takes it; a folder with runs below it; a sweep's name, or the
            beginning of one, below `outputs`/sweeps.
        outputs: where names are looked for.

    Raises:
        UserError: a word means nothing, or more than one thing.
    """
    found: dict[Path, RunFolder] = {}
    homes = []
    for word in given:
        runs, home = _meant(word, outputs)
        homes.append(home)
        found |= {run.path.resolve(): run for run in runs}
    if len(homes) == 1:
        return Selection(tuple(found.values()), homes[0].name, homes[0] / REPORT)
    return Selection(tuple(found.values()), f"{len(found)} runs", Path(REPORT))


def _meant(word: str, outputs: Path) -> tuple[list[RunFolder], Path]:
    path = Path(word)
    if path.is_dir() and not (path / "config.yaml").exists():
        runs = list(all_runs(path))
        if not runs:
            raise UserError(f"{word}: no run in this folder or below it (no config.yaml)")
        return runs, path.absolute()
    sweep = outputs / "sweeps" / word
    if len(path.parts) == 1 and sweep.is_dir():
        runs = list(all_runs(sweep))
        if runs:
            return runs, sweep.absolute()
    try:
        run = find_run(word, outputs)
    except UserError:
        sweeps = sorted(p for p in (outputs / "sweeps").glob("*") if p.name.startswith(word))
        if len(sweeps) != 1 or not word:
            raise
        return list(all_runs(sweeps[0])), sweeps[0].absolute()
    return [run], run.path.absolute()
