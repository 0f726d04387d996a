"""`dlrun resume RUN`: the same run, the same folder, the exact step."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dlrun.commands.parsers import parse
from dlrun.errors import ConfigError, UserError


def run(arguments: list[str]) -> int:
    """Resumes one run; does nothing if it is complete."""
    options = parse("resume", arguments)

    from dlrun.runs.select import find_run

    found = find_run(options.run, options.outputs)
    folder, plain = found.folder, found.folder.config_here()
    _demand_places(options.places)
    if found.is_complete:
        print(f"{folder}: complete already, {found.status.step} steps; nothing to do")
        return 0
    if found.state == "running":
        host = found.status.host
        raise UserError(f"{folder}: another process is training this run right now, on {host}")

    from dlrun.commands.start import resume
    from dlrun.config.schema import check
    from dlrun.training.launch import missing_processes, relaunch

    _move(plain, options.places)
    try:
        config = check(plain)
    except ConfigError as error:
        raise UserError(f"{folder.config}: {'; '.join(error.problems)}") from None
    if options.devices is not None:
        config = replace(config, hardware=replace(config.hardware, devices=options.devices))
    count = missing_processes(config)
    if count > 1:
        return relaunch(["resume", *arguments], count)
    resume(config, folder)
    return 0


def _demand_places(words: Sequence[str]) -> None:
    from dlrun.config.signature import is_place

    for word in words:
        key = word.partition("=")[0]
        if not is_place(key) or key == "outputs":
            raise UserError(
                f"{word}: a run keeps its config; only where its data lie can be given anew, by "
                "dataset.root=... or data_dir=..."
            )


def _move(plain: dict[str, Any], places: Sequence[str]) -> None:
    """Sets where the data lie now, as absolute paths. Raises ConfigError."""
    if not places:
        return

    from dlrun.config.compose import composer
    from dlrun.config.values import set_values
    from dlrun.files import expanded

    with composer() as own:
        parsed, problems = own.parse(places)
    problems += set_values(plain, parsed)
    if problems:
        raise ConfigError(problems)
    for key in (word.partition("=")[0] for word in places):
        *parents, last = key.split(".")
        section = plain
        for parent in parents:
            section = section[parent]
        if isinstance(section[last], str):
            section[last] = os.path.abspath(expanded(section[last]))
