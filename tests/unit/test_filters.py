"""Which runs `dlrun ls` and its like mean."""

import math
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run

from dlrun.errors import UserError
from dlrun.runs.filters import NothingSelected, filtered, parse_filter, sort_runs
from dlrun.runs.run import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")

    def run(name: str, accuracy: float | None = 0.5, state: str = "completed", **rest: Any) -> Run:
        val = None if accuracy is None else [accuracy + 0.1]
        return Run(make_run(folder / name, accuracy, state=state, steps=(10,), val=val, **rest))

    return [
        run(
            "a",
            0.9,
            config={"method.name": "byol", "method.flag": True},
            lr=0.01,
            test={"kid[net@12]/prior": 0.3},
        ),
        run("b", config={"method.name": "vae", "method.sizes": [3, 4]}, seed=1),
        run("c", None, "failed", config={"method.name": "byol", "schedule.warmup": None}, seed=2),
        run("d", None, "interrupted", config={"method.name": "my_file:Mine"}, lr=1e-5),
    ]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (["method=byol"], "ac"),
        (["method=my_file"], "d"),
        (["method.name=byol"], "ac"),
        (["method=byol", "status=failed"], "c"),
        (["status=failed,interrupted"], "cd"),
        (["status!=failed"], "abd"),
        (["method!=byol,vae"], "d"),
        (["seed=0"], "ad"),
        (["seed=0.0"], "ad"),
        (["seed>=1"], "bc"),
        (["optimizer.lr<0.1"], "ad"),
        (["optimizer.lr=1e-5"], "d"),
        (["optimizer.lr==0.00001"], "d"),
        (["test.accuracy>0.6"], "a"),
        (["test/last/accuracy>0.3"], "ab"),
        (["val.best<=0.6"], "b"),
        (["method.flag=true"], "a"),
        (["schedule.warmup=null"], "c"),
        (["method.sizes=[3,4]"], "b"),
        (["method.sizes=[3],[3, 4]"], "b"),
        (["test.kid[net@12].prior<0.5"], "a"),
        (["run=[ab]"], "ab"),
        (["method=*:Mine"], "d"),
        (["optimizer.lr<0.1", "optimizer.lr>0.001"], "a"),
    ],
)
def test_filters(runs: list[Run], typed: list[str], names: str) -> None:
    assert "".join(run.name for run in kept(runs, *typed)) == names


def kept(runs: list[Run], *typed: str) -> list[Run]:
    filters = [parse_filter(text) for text in typed]
    return filtered(runs, [one for one in filters if one is not None])


def test_a_filter_is_known_by_its_sign() -> None:
    for text in ("seed=0", "optimizer.lr<0.1", "run=2*", "a.b!=c=d", "seed="):
        assert parse_filter(text) is not None
    for text in ("outputs", "last", "261126-020114-rrej", "outputs/sweeps/a"):
        assert parse_filter(text) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("status=faild", "Did you mean status=failed"),
        ("status=zzz", "expected one of status=running, status=completed"),
        ("metod=byol", "no run has metod. Did you mean method=byol"),
        ("lr<1", "no run has lr. Did you mean optimizer.lr<1"),
        ("zzz=1", "no run has zzz; keys are those of config.yaml"),
        ("seed<many", "compares numbers; got many"),
    ],
)
def test_mistakes_are_told(runs: list[Run], text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        kept(runs, text)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["seed=7"], "no run with seed=7; seed is 0, 1, 2"),
        (["test/kid[net@12]/prior<=0.1"], r"; test.kid\[net@12\].prior is 0.3"),
        (["seed=1", "method=byol"], "no run with seed=1 and method=byol at once"),
    ],
)
def test_nothing_found_says_what_there_is(runs: list[Run], typed: list[str], message: str) -> None:
    with pytest.raises(NothingSelected, match=message):
        kept(runs, *typed)


def test_sorting_puts_what_lacks_the_key_last_either_way(runs: list[Run], tmp_path: Path) -> None:
    diverged = Run(make_run(tmp_path / "n", math.nan))
    several = [*runs, diverged]
    assert "".join(run.name for run in sort_runs(several, "test.accuracy")) == "bancd"
    assert "".join(run.name for run in sort_runs(runs, "test.accuracy", reverse=True)) == "abcd"
    assert "".join(run.name for run in sort_runs(runs, "method")) == "acdb"
    with pytest.raises(UserError, match=r"Did you mean optimizer\.lr"):
        sort_runs(runs, "optimizer.lrr")
