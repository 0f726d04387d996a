"""Groups of seeds side by side: where their configs differ and what they reached."""

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from dlrun.errors import UserError
from dlrun.files import read_jsonl
from dlrun.results.seeds import Group
from dlrun.results.statistics import Paired, Spread, paired, spread
from dlrun.runs.record import Record


@dataclass(frozen=True)
class Figure:
    """One number of one run, said in full."""

    split: str
    """test or val."""
    which: str
    """last: at the end; best: of the checkpoint whose val value of the key metric was best."""
    metric: str

    def __str__(self) -> str:
        return f"{self.split}/{self.which}/{self.metric}"


@dataclass(frozen=True)
class Row:
    """One figure of all groups; a group of which no run has it is None."""

    figure: Figure
    groups: list[Spread | None]
    tests: list[Paired | None]
    """Each group against the first, over the seeds that both have; the first is None."""


def labels(count: int) -> list[str]:
    """A, B, ... Z, AA, AB, ..."""
    letters = string.ascii_uppercase
    return [*letters, *("".join(pair) for pair in product(letters, letters))][:count]


def figures(run: Record) -> dict[Figure, float]:
    """All that a run has: the test split's from its summary, the val split's from metrics.jsonl."""
    found = {
        Figure("test", which, name): value
        for which in ("best", "last")
        for name, value in run.test(which).items()
    }
    rows = [row for row in read_jsonl(Path(run.path) / "metrics.jsonl") if _is_val(row)]
    best = run.summary.get("best") if isinstance(run.summary.get("best"), dict) else None
    for which in ("best", "last"):
        wanted = rows[-1:]
        if which == "best":
            wanted = [row for row in rows if best and row["step"] == best.get("step")]
        for row in wanted:
            found |= {
                Figure("val", which, name.removeprefix("val/")): value
                for name, value in row.items()
                if name.startswith("val/") and name.count("/") == 1
            }
    return {key: float(value) for key, value in found.items() if isinstance(value, int | float)}


def _is_val(row: dict[str, object]) -> bool:
    return any(name.startswith("val/") for name in row)


def compare(groups: Sequence[Group], metrics: Sequence[str] = ()) -> list[Row]:
    """The figures side by side, the key metric's first, of runs that are complete.

    What another run has come to so far is no sample of what its config reaches.

    Args:
        groups: the first is what the others are held against.
        metrics: names as in summary.json; none for all.

    Raises:
        UserError: a metric that no run has.
    """
    numbers = [
        [figures(run) if run.state == "completed" else {} for run in group.runs] for group in groups
    ]
    there = dict.fromkeys(key for group in numbers for own in group for key in own)
    names = list(dict.fromkeys(figure.metric for figure in there))
    wrong = [metric for metric in metrics if metric not in names]
    if wrong:
        raise UserError(_no_metric(wrong[0], names))
    keys = {run.key_metric for group in groups for run in group.runs}
    wanted = [figure for figure in there if not metrics or figure.metric in metrics]
    wanted.sort(key=lambda figure: (figure.split == "val", figure.metric not in keys))
    return [_row(figure, groups, numbers) for figure in wanted]


def _no_metric(given: str, names: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(given.rpartition("/")[2], names, n=1, cutoff=0.6)
    told = f". Did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"
    return f"--metric {given}: no such metric{told if names else ': no run has finished'}"


def _row(
    figure: Figure, groups: Sequence[Group], numbers: Sequence[Sequence[dict[Figure, float]]]
) -> Row:
    by_seed = [
        {
            seed: own[figure]
            for seed, own in zip(group.seeds, of_group, strict=True)
            if figure in own
        }
        for group, of_group in zip(groups, numbers, strict=True)
    ]
    spreads = [spread(list(own.values())) if own else None for own in by_seed]
    tests = [None, *(_test(by_seed[0], own) for own in by_seed[1:])]
    return Row(figure, spreads, tests)


def _test(first: dict[object, float], other: dict[object, float]) -> Paired | None:
    shared = [seed for seed in first if seed in other]
    return paired([first[seed] for seed in shared], [other[seed] for seed in shared])
