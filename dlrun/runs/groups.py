"""Runs that differ only in their seed, taken together; the same way in every command."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dlrun.config.signature import computes
from dlrun.options import Metric
from dlrun.runs.provenance import change
from dlrun.runs.run import Measure, Run
from dlrun.runs.statistics import Spread, spread
from dlrun.text import show

_SHORT = 40  # characters of a value in a table


@dataclass(frozen=True)
class SeedGroup:
    """The runs of one config, one for each seed. Its numbers are of the complete ones."""

    config: dict[str, Any]
    """Flat, without the seed and without what does not change what a run computes. Where the data
    set has changed between runs, `dataset.checksum` has the first digits of what its own saw."""
    runs: tuple[Run, ...]
    """By seed."""
    duplicates: tuple[Run, ...] = ()
    """Further runs of a seed in `runs`: the same computation again is not another sample."""
    label: str = ""
    """What sets it apart, as `labelled` says."""

    @property
    def seeds(self) -> list[Any]:
        """Of each run."""
        return [run.seed for run in self.runs]

    @cached_property
    def complete(self) -> list[Run]:
        """Those of `runs` that its numbers are of."""
        return [run for run in self.runs if run.is_complete]

    @property
    def incomplete(self) -> list[Run]:
        """Those of `runs` that its numbers leave out."""
        return [run for run in self.runs if not run.is_complete]

    @property
    def key_metric(self) -> str | None:
        """Of the first of its complete runs that has one."""
        return next((run.key_metric for run in self.complete if run.key_metric), None)

    def spread(self, value: Callable[[Run], float | None]) -> Spread | None:
        """Over the complete runs for which there is a value; None without any.

        Args:
            value: what is meant of a run.
        """
        found = [number for run in self.complete if (number := value(run)) is not None]
        return spread(found) if found else None

    def measure(self, measure: Measure) -> Spread | None:
        """One of its runs' measures."""
        return self.spread(lambda run: run.measures.get(measure))

    def test(self, which: str, metric: str) -> Spread | None:
        """On the test split; `which` is trivial, untrained, last or best."""
        return self.spread(lambda run: run.test(which).get(metric))

    def metric(self, name: str) -> Metric:
        """How the number `name` is worded, compared and printed."""
        return metric_of(self.runs, name)

    def best_val(self) -> Spread | None:
        """Of the key metric on val, at the checkpoints that it chose."""
        return self.spread(lambda run: run.best_val)


def metric_of(runs: Sequence[Run], name: str) -> Metric:
    """How the number `name` is worded, compared and printed, by the first run that has it."""
    return next((run for run in runs if name in run.test("last")), runs[0]).metric(name)


def by_seed(runs: Sequence[Run]) -> list[SeedGroup]:
    """The groups, in the order of their first run.

    Of several runs of one seed the complete one counts that was started last, or where none is
    complete the one that was started last; the others are duplicates.
    """
    members: dict[str, list[Run]] = {}
    configs = dict(zip(runs, _configs(runs), strict=True))
    for run, config in configs.items():
        members.setdefault(_key(config), []).append(run)
    return [_group(configs[own[0]], own) for own in members.values()]


def on_other_data(runs: Sequence[Run]) -> dict[Run, str]:
    """The complete runs that saw other data than the latest with their data set, and what differs.

    Args:
        runs: some of which may have the same options of a data set.
    """
    alike: dict[str, list[Run]] = {}
    for run in runs:
        if run.is_complete and run.provenance.get("data"):
            alike.setdefault(_key(_data_options(run)), []).append(run)
    found: dict[Run, str] = {}
    for own in alike.values():
        latest = max(own, key=lambda run: run.status.heartbeat).provenance["data"]
        changes = {run: change(run.provenance["data"], latest) for run in own}
        found |= {run: changed for run, changed in changes.items() if changed}
    return found


def _configs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What each run computes, its seed aside; with its data where runs of one data set differ."""
    checksums = {run: run.provenance.get("data", {}).get("checksum") for run in runs}
    seen: dict[str, set[str | None]] = {}
    for run in runs:
        seen.setdefault(_key(_data_options(run)), set()).add(checksums[run])
    configs = []
    for run in runs:
        config = {key: v for key, v in run.config.items() if computes(key) and key != "seed"}
        if (checksum := checksums[run]) and len(seen[_key(_data_options(run))] - {None}) > 1:
            config["dataset.checksum"] = checksum[:8]
        configs.append(config or {"run": str(run.path)})  # not readable: like no other run
    return configs


def _data_options(run: Run) -> dict[str, Any]:
    return {k: v for k, v in run.config.items() if k.startswith(("dataset.", "bias."))}


def _key(config: Mapping[str, Any]) -> str:
    return json.dumps(config, sort_keys=True, default=str)


def _group(config: dict[str, Any], runs: list[Run]) -> SeedGroup:
    kept = {run.seed: run for run in sorted(runs, key=lambda r: (r.is_complete, r.status.started))}
    chosen = sorted(kept.values(), key=lambda run: (run.seed is None, float(run.seed or 0)))
    others = tuple(run for run in runs if run not in chosen)
    return SeedGroup(config, tuple(chosen), others)


def labelled(groups: Sequence[SeedGroup]) -> list[SeedGroup]:
    """The groups with labels: the fewest keys that tell all apart, as `loss=mse, optimizer.lr=0.1`.

    Where nothing differs it is the name of the first run.
    """
    changed = differences([group.config for group in groups])
    rows = list(zip(*changed.values(), strict=True)) or [()] * len(groups)
    keys = list(changed)
    chosen: list[int] = []
    for i in range(len(keys)):
        apart = len({tuple(row[k] for k in chosen) for row in rows})
        if len({tuple(row[k] for k in (*chosen, i)) for row in rows}) > apart:
            chosen.append(i)
    labels = [", ".join(f"{keys[i]}={row[i]}" for i in chosen) for row in rows]
    return [
        replace(group, label=label or group.runs[0].name)
        for group, label in zip(groups, labels, strict=True)
    ]


def differences(configs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The keys whose values are not the same in all, with each one's value as it would be typed.

    Names of options come first. `-` is a key that a config does not have. What lies inside
    an option that is itself another one (model=mlp, model=resnet) is left out: it follows from it.
    """
    keys = list(dict.fromkeys(key for config in configs for key in config))
    unlike = [key for key in keys if len({_shown(config, key) for config in configs}) > 1]
    options = {key.removesuffix("name") for key in unlike if key.endswith(".name")}
    kept = [
        key
        for key in unlike
        if all(key in config for config in configs)
        or not any(key.startswith(option) and key != f"{option}name" for option in options)
    ]
    kept.sort(key=lambda key: not key.endswith(".name"))
    return {
        key.removesuffix(".name"): [_cut(_shown(config, key)) for config in configs] for key in kept
    }


def _shown(config: dict[str, Any], key: str) -> str:
    return show(config[key]) if key in config else "-"


def _cut(text: str) -> str:
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 3]}..."
