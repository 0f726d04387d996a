"""`dlrun train`: compose, check, claim a folder, train."""

import os
import sys
from argparse import Namespace
from contextlib import nullcontext
from typing import Any

from dlrun.commands.parsers import parse, parser_of
from dlrun.errors import UserError
from dlrun.runs.signals import termination_raises


def run(arguments: list[str]) -> int:
    """Trains one run, or with -m a sweep; prints help or the config where that is asked for."""
    # Hydra then raises its errors instead of printing them and exiting with 1.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    options = parse("train", arguments)
    with termination_raises() if options.multirun else nullcontext():
        return _run(options, arguments)


def _run(options: Namespace, arguments: list[str]) -> int:
    from dlrun.config.compose import user_config_dir
    from dlrun.config.values import repeated

    if "RANK" not in os.environ:  # one of several processes that train together
        for line in repeated(options.overrides):
            print(f"note: {line}", file=sys.stderr)
    config_dir = user_config_dir(options.config_dir)
    if options.help:
        from dlrun.config.help import train_help

        groups = train_help(options.overrides, config_dir)
        print(parser_of("train").format_help(), groups, sep="\n")
        return 0
    for flag, given in (("--cfg", options.cfg), ("--info", options.info)):
        if options.multirun and given:
            raise UserError(f"{flag}: it shows the config of one run; leave out -m")
    if options.hydra_help:
        return _hydra(["--hydra-help"])
    if options.multirun:
        from dlrun.console import Console, log_to
        from dlrun.sweeps.hydra import sweep

        console = Console()
        log_to(console)
        return sweep(options.overrides, config_dir, console)
    if options.cfg == "job":
        return _print_config(options.overrides, config_dir)
    if options.cfg or options.info:
        return _composed_by_hydra(options, config_dir)
    return _train(options.overrides, config_dir, arguments)


def _train(overrides: list[str], config_dir: str | None, arguments: list[str]) -> int:
    from dlrun.config.compose import compose
    from dlrun.config.schema import check
    from dlrun.runs.select import settle

    plain, problems = compose(overrides, config_dir)
    problems += settle(plain)
    # Where nothing is wrong so far, there may still be a mistake in a file of the user's own.
    in_files = config_dir is not None and not problems
    config = check(plain, problems, overrides, quick=not in_files)

    from dlrun.commands.start import start
    from dlrun.training.launch import missing_processes, relaunch

    count = missing_processes(config)
    if count > 1:
        return relaunch(["train", *arguments], count)
    start(config)
    return 0


def _print_config(overrides: list[str], config_dir: str | None) -> int:
    from omegaconf import OmegaConf

    from dlrun.config.compose import compose
    from dlrun.config.schema import check_without_torch

    plain, problems = compose(overrides, config_dir)
    check_without_torch(plain, problems, overrides)
    print(OmegaConf.to_yaml(OmegaConf.create(plain)), end="")
    return 0


def _composed_by_hydra(options: Namespace, config_dir: str | None) -> int:
    """--info and --cfg hydra: what Hydra itself prints, where nothing is wrong."""
    from dlrun.config.compose import composer
    from dlrun.config.schema import check_without_torch

    with composer(config_dir) as own:
        plain, problems = own.compose(options.overrides)
        texts = [o.input_line or "" for o in own.parse(options.overrides)[0]]
    check_without_torch(plain, problems, options.overrides)
    flags = ["--cfg", options.cfg] if options.cfg else ["--info", options.info]
    return _hydra([*flags, *texts, *(["--config-dir", config_dir] if config_dir else [])])


def _hydra(arguments: list[str]) -> int:
    import hydra

    sys.argv = ["dlrun train", *arguments]

    @hydra.main(version_base="1.3", config_path="pkg://dlrun.conf", config_name="train")
    def nothing(config: Any) -> None:
        """Hydra prints and returns before this is called."""

    nothing()
    return 0
