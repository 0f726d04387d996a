"""Runs that differ only in their seed, taken together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dlrun.config.signature import computes
from dlrun.runs.record import Record
from dlrun.text import show

_SHORT = 40  # characters of a value in a table


@dataclass(frozen=True)
class Group:
    """Runs of one config, one for each seed."""

    config: dict[str, Any]
    """Flat, without the seed and without what has no part in the computation."""
    runs: tuple[Record, ...]
    """By seed."""
    doubles: tuple[Record, ...] = ()
    """Further runs of a seed in `runs`: the same computation twice is no second sample."""

    @property
    def seeds(self) -> list[Any]:
        """One of each run."""
        return [run.config.get("seed") for run in self.runs]

    @property
    def incomplete(self) -> list[Record]:
        """Those of `runs` that have no part in the figures."""
        return [run for run in self.runs if run.state != "completed"]


def by_seed(runs: Sequence[Record]) -> list[Group]:
    """The groups, in the order of their first run; of one seed's runs the latest complete one."""
    members: dict[str, list[Record]] = {}
    for run in runs:
        members.setdefault(json.dumps(_config(run), sort_keys=True, default=str), []).append(run)
    return [_group(own) for own in members.values()]


def _config(run: Record) -> dict[str, Any]:
    if not run.config:  # not readable: like no other run
        return {"run": run.path}
    return {key: value for key, value in run.config.items() if computes(key) and key != "seed"}


def _group(runs: list[Record]) -> Group:
    kept: dict[Any, Record] = {}
    for run in sorted(runs, key=lambda run: (run.state == "completed", run.started or 0.0)):
        kept[run.config.get("seed")] = run
    chosen = sorted(kept.values(), key=lambda run: _order(run.config.get("seed")))
    left = tuple(run for run in runs if run not in chosen)
    return Group(_config(runs[0]), tuple(chosen), left)


def _order(seed: Any) -> tuple[bool, float]:
    return (seed is None, float(seed or 0))


def differences(configs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The keys whose values are not the same in all, with each one's value as it would be typed.

    `-` stands for a key that a config does not have. What lies inside of a group that is itself
    another (model=mlp beside model=resnet) is left out: it says the same again.
    """
    keys = list(dict.fromkeys(key for config in configs for key in config))
    unlike = [key for key in keys if len({_shown(config, key) for config in configs}) > 1]
    groups = {key.removesuffix("name") for key in unlike if key.endswith(".name")}
    kept = [
        key
        for key in unlike
        if not any(
            key.startswith(group) and key != f"{group}name" and _lacks(configs, key)
            for group in groups
        )
    ]
    return {
        key.removesuffix(".name"): [_cut(_shown(config, key)) for config in configs] for key in kept
    }


def _lacks(configs: Sequence[dict[str, Any]], key: str) -> bool:
    return any(key not in config for config in configs)


def _shown(config: dict[str, Any], key: str) -> str:
    return show(config[key]) if key in config else "-"


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."
