"""The runs that a run needs first or is compared with: a teacher, the student alone, controls.

A method says which, by role (`Method.prerequisites`). Each is a run of its own in a folder named by
its config's signature, so that the next run that needs the same one, in this sweep or next week,
uses it as it is, or resumes it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlrun.config.compose import section
from dlrun.config.schema import TrainConfig, check
from dlrun.config.signature import signature
from dlrun.config.typed import to_plain_types
from dlrun.console import Console
from dlrun.data.info import info_of
from dlrun.data.open import open_dataset
from dlrun.errors import CodeError, ConfigError, UserError
from dlrun.methods.base import Method
from dlrun.models.pretrained import Pretrained
from dlrun.options import Choice
from dlrun.registry import lookup
from dlrun.runs.folder import RunFolder
from dlrun.runs.run import Run
from dlrun.runs.status import read_status
from dlrun.text import given
from dlrun.training.assemble import build_method
from dlrun.training.preflight import check_before_data, check_method
from dlrun.training.ranks import SINGLE, Ranks
from dlrun.training.run import Result, train

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Prerequisite:
    """One of them: its role for the run that needs it, its config, and its folder."""

    role: str
    config: TrainConfig
    folder: RunFolder


def prerequisites(config: TrainConfig) -> list[Prerequisite]:
    """The prerequisites of a run, in the order in which they are trained.

    Raises:
        ConfigError: the config of one has a mistake.
    """
    method: type[Method] = lookup("method", config.method.name)
    plain = to_plain_types(config)
    # One process trains each, so that the others are free to wait, and all runs share it.
    alone = {"name": None, "hardware": plain["hardware"] | {"devices": 1, "sync_batchnorm": False}}
    found = []
    wanted = method.prerequisites(plain, section)
    if not isinstance(wanted, dict) or not all(isinstance(own, dict) for own in wanted.values()):
        raise CodeError(
            f"prerequisites() returned {given(wanted)}, expected a dict from a role to the config "
            "of its run, a dict",
            method.prerequisites,
        )
    for role, own in wanted.items():
        try:
            needed = check(own | alone)
        except ConfigError as error:
            raise ConfigError([f"{role}: {line}" for line in error.problems]) from None
        found.append(Prerequisite(role, needed, folder_of(role, needed)))
    return found


def folder_of(role: str, config: TrainConfig) -> RunFolder:
    """The folder of the run of this config that has this role for others."""
    parent = Path(config.outputs) / config.dataset.name.replace(":", ".") / config.method.name
    return RunFolder((parent / f"{role}-{signature(to_plain_types(config))}").absolute())


def train_first(config: TrainConfig, console: Console, ranks: Ranks = SINGLE) -> dict[str, str]:
    """Trains what a run needs first, unless it is trained already; gives the folders by role.

    Raises:
        UserError: a prerequisite cannot be trained, or the run cannot use it.
    """
    needed = prerequisites(config)
    _rehearse(config, needed, ranks)
    for one in needed:
        train_shared(one.role, one.config, one.folder, console)
    return {one.role: str(one.folder) for one in needed}


def ready(config: TrainConfig, console: Console, ranks: Ranks = SINGLE) -> TrainConfig:
    """`config` with the runs that it needs, trained first by the main process.

    All processes have the main one's config: to the others, `last` may be what it trains.
    """
    plain = ranks.from_main(to_plain_types(config))
    config = config if ranks.main else check(plain)
    check_before_data(config, ranks)
    return filled(config, ranks.on_main_rank(lambda: train_first(config, console, ranks)))


def train_compared(
    config: TrainConfig, folder: RunFolder, console: Console, ranks: Ranks = SINGLE
) -> Result:
    """Trains a run whose prerequisites are trained, and compares it with them at its test."""
    return train(config, folder, console, ranks, {p.role: p.folder for p in prerequisites(config)})


def filled(config: TrainConfig, folders: Mapping[str, str]) -> TrainConfig:
    """`config` with the folders of the roles that are options of its method and null."""
    options = config.method.options
    changed = {role: path for role, path in folders.items() if _is_open(options, role)}
    if not changed:
        return config
    return replace(config, method=Choice(config.method.name, replace(options, **changed)))


def train_shared(
    role: str,
    config: TrainConfig,
    folder: RunFolder,
    console: Console,
    pause: Callable[[], None] = lambda: time.sleep(_POLL_SECONDS),
) -> None:
    """Trains a run that others need as well, or waits while another process does.

    Args:
        role: what it is for them, shown to people.
        config: of the run.
        folder: its own.
        console: where it says what it does.
        pause: called while another process trains it.

    Raises:
        UserError: it failed.
    """

    def say(text: str) -> None:
        console.say(f"{role}: {text}")

    folder.path.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        in_use = folder.in_use()  # looked at first: a run that ends now has then said how
        status = read_status(folder)
        if status is not None and status.state == "completed":
            accuracy = Run(folder.path).test("best").get("accuracy")
            measured = "" if accuracy is None else f"; test accuracy {accuracy:.4f} (best)"
            say(f"{folder}, trained{measured}")
            return
        if not in_use and (status is None or status.state != "running"):  # on another machine
            if status is None:
                say(f"not trained yet, training it first ({config.model.name})")
            else:
                say(f"{folder} is {status.state} at step {status.step}, resuming it first")
            try:
                train(config, folder, console)
            except UserError:
                if not folder.in_use():  # else another process began at the same moment
                    raise
            continue
        if not waiting:
            say(f"another process is training it, waiting: {folder}")
            waiting = True
        pause()


def _is_open(options: Any, role: str) -> bool:
    return hasattr(options, role) and getattr(options, role) is None


def _rehearse(config: TrainConfig, needed: list[Prerequisite], ranks: Ranks) -> None:
    """Builds the method once on untrained prerequisites, before hours of training them.

    So a path or a loss that does not fit is found at once. Raises UserError.
    """
    needed = [one for one in needed if _is_open(config.method.options, one.role)]
    if not needed:
        return
    data = open_dataset(config.dataset, config.data_dir, config.bias, config.groups)

    def untrained(reference: str) -> Pretrained:
        own = next(one.config for one in needed if one.role == reference)
        network = build_method(_from_scratch(own), data, untrained, 1.0)[0]
        return Pretrained(
            source=own.model.name,
            state=network.state_dict(),
            parts=network.parts,
            method=own.method.name,
            model=own.model,
            info=info_of(data),
            pixels=network.pixels,
        )

    student = filled(config, {one.role: one.role for one in needed})
    method = build_method(_from_scratch(student), data, untrained, 1.0)[0]
    check_method(config, method, data, ranks)


def _from_scratch(config: TrainConfig) -> TrainConfig:
    """Initial weights do not change what fits."""
    options = config.model.options
    if getattr(options, "init_from", None) is None:
        return config
    return replace(config, model=Choice(config.model.name, replace(options, init_from=None)))
