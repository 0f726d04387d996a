"""Each campaign, small and with a fixed seed; the large ones are run by hand."""

from pathlib import Path

import pytest
from run import NAMES, trials

SIZES: dict[str, int] = {
    "columns": 100,
    "commands": 40,
    "damage": 40,
    "images": 60,
    "kills": 2,
    "machine": 6,
    "own_code": 15,
}
"""Trials of each campaign in the tests; a campaign takes at most some 15 s here."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_trial_fails(name: str, tmp_path: Path) -> None:
    outcomes = list(trials(name, seed=0, size=SIZES[name], folder=tmp_path))
    assert len(outcomes) == SIZES[name]
    assert [outcome for outcome in outcomes if outcome is not None] == []
