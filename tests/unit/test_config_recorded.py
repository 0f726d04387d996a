"""Configs of runs that are older than some of the keys."""

from typing import Any

from dlrun.config.check import check
from dlrun.config.compose import compose_plain
from dlrun.config.recorded import completed


def without(plain: dict[str, Any], key: str) -> dict[str, Any]:
    return {
        name: without(item, key) if isinstance(item, dict) else item
        for name, item in plain.items()
        if name != key
    }


def test_keys_that_came_later_are_as_packaged() -> None:
    now = compose_plain(["dataset=two_domains", "method=cyclegan"], None)
    then = without(without(now, "positive"), "groups")
    assert "positive" not in then["dataset"]["a"] and "groups" not in then
    assert completed(then) == now
    assert check(completed(then)) == check(now)


def test_what_the_run_says_stays() -> None:
    said = compose_plain(["groups=[gender]", "dataset.positive=Bag", "seed=3"], None)
    assert completed(said) == said
    assert "model" not in completed(without(said, "model"))  # a damaged one is not made up for
