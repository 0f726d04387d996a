"""Campaigns: many random trials of one promise. docs/reliability.md has the promises and figures.

    python tests/campaigns/run.py NAME --size 1000 --seed 3

NAME is a module of this folder with a function `campaign(rng, size, folder)`, which makes what it
needs in an empty folder and yields, for each of `size` trials, None where the promise held and
otherwise a sentence with what was tried and what came.
"""

import argparse
import importlib
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

HERE = Path(__file__).parent
NAMES = sorted(
    path.stem for path in HERE.glob("[!_]*.py") if path.stem not in ("run", "test_small")
)


def trials(name: str, seed: int, size: int, folder: Path) -> Iterator[str | None]:
    """What became of each trial of a campaign; the same for the same seed."""
    return importlib.import_module(name).campaign(random.Random(seed), size, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--size", type=int, default=100, help="trials (default 100)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        outcomes = trials(given.name, given.seed, given.size, Path(folder))
        for failure in track(outcomes, given.name, total=given.size):
            if failure is not None:
                failures += 1
                print(failure, flush=True)
    print(f"{given.name}: {given.size - failures} of {given.size} held (seed {given.seed})")
    sys.exit(failures > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent / "support"))
    main()
