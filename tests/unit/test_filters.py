"""Which runs `dlrun ls` and its like mean."""

import math

import pytest

from dlrun.errors import UserError
from dlrun.results.filters import chosen, is_filter, nothing_found, parse_filter, sort_key
from dlrun.runs.record import Record


def record(name: str, state: str = "completed", accuracy: float = 0.5, **config: object) -> Record:
    summary = {
        "key_metric": "accuracy", "best": {"val": accuracy + 0.1},
        "test": {"best": {"accuracy": accuracy}, "last": {"accuracy": accuracy - 0.1}},
    }  # fmt: skip
    plain = {"seed": 0, "optimizer.lr": 0.1, **{k.replace("__", "."): v for k, v in config.items()}}
    return Record(
        f"/o/{name}", state, config=plain, summary=summary if state == "completed" else {}
    )


RUNS = [
    record("a", accuracy=0.9, method__name="byol", optimizer__lr=0.01, method__flag=True),
    record("b", method__name="vae", seed=1, method__sizes=[3, 4]),
    record("c", "failed", method__name="byol", seed=2, schedule__warmup=None),
    record("d", "interrupted", method__name="my_file:Mine", optimizer__lr=1e-5),
]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        (["method=byol"], "ac"),
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
        (["run=[ab]"], "ab"),
        (["method=*:Mine"], "d"),
        (["optimizer.lr<0.1", "optimizer.lr>0.001"], "a"),
    ],
)
def test_filters(typed: list[str], names: str) -> None:
    assert "".join(run.name for run in chosen(RUNS, [parse_filter(t) for t in typed])) == names


@pytest.mark.parametrize("text", ["seed=0", "optimizer.lr<0.1", "run=2*", "a.b!=c=d", "seed="])
def test_a_filter_is_known_by_its_sign(text: str) -> None:
    assert is_filter(text)


@pytest.mark.parametrize("text", ["outputs", "last", "261126-020114-rrej", "outputs/sweeps/a"])
def test_a_name_is_no_filter(text: str) -> None:
    assert not is_filter(text)
    with pytest.raises(UserError, match="no filter"):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("status=faild", "Did you mean status=failed"),
        ("status=zzz", "there are running, completed"),
        ("metod=byol", "no run has metod. Did you mean method=byol"),
        ("lr<1", "no run has lr. Did you mean optimizer.lr<1"),
        ("zzz=1", "no run has zzz; keys are those of config.yaml"),
        ("seed<many", "compares numbers; got many"),
    ],
)
def test_mistakes_are_told(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        chosen(RUNS, [parse_filter(text)])


def test_nothing_found_says_what_there_is() -> None:
    assert nothing_found(RUNS, [parse_filter("seed=7")]) == "no run with seed=7; seed is 0, 1, 2"
    both = [parse_filter("seed=1"), parse_filter("method=byol")]
    assert nothing_found(RUNS, both) == "no run with seed=1 and method=byol at once"


def test_sorting_puts_what_lacks_the_key_last_either_way() -> None:
    runs = [*RUNS, record("n", accuracy=math.nan)]
    assert "".join(run.name for run in sort_key(runs, "test.accuracy")) == "bancd"
    assert "".join(run.name for run in sort_key(RUNS, "test.accuracy", reverse=True)) == "abcd"
    assert "".join(run.name for run in sort_key(RUNS, "method")) == "acdb"
    with pytest.raises(UserError, match=r"Did you mean optimizer\.lr"):
        sort_key(RUNS, "optimizer.lrr")
