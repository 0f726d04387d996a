"""`dlrun train`: compose, check, claim a folder, train."""

import os
import sys
from argparse import Namespace
from contextlib import nullcontext
from typing import Any

from dlrun.commands.parsers import parse, parser_of
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

    config_dir = user_config_dir(options.config_dir)
    if options.help:
        from dlrun.config.help import train_help

        print(parser_of("train").format_help())
        print(train_help(options.overrides, config_dir))
        return 0
    if options.multirun:
        from dlrun.console import Console, log_to
        from dlrun.sweeps.hydra import sweep

        console = Console()
        log_to(console)
        return sweep(options.overrides, config_dir, console)
    if options.cfg == "job":
        return _print_config(options.overrides, config_dir)
    if options.cfg or options.info or options.hydra_help:
        return _hydra(arguments, config_dir)
    return _train(options.overrides, config_dir, arguments)


def _train(overrides: list[str], config_dir: str | None, arguments: list[str]) -> int:
    from dlrun.config.compose import compose
    from dlrun.config.schema import check
    from dlrun.runs.select import settle

    plain, problems = compose(overrides, config_dir)
    problems += settle(plain)
    # Where nothing is wrong so far, there may still be a mistake in a file of the user's own.
    in_files = config_dir is not None and not problems
    keys = None if in_files else [text.partition("=")[0] for text in overrides]
    config = check(plain, problems, keys)

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
    check_without_torch(plain, problems)
    print(OmegaConf.to_yaml(OmegaConf.create(plain)), end="")
    return 0


def _hydra(arguments: list[str], config_dir: str | None) -> int:
    """Hydra's own flags, such as --info and --cfg hydra."""
    import hydra

    sys.argv = ["dlrun train", *arguments, *(["--config-dir", config_dir] if config_dir else [])]

    @hydra.main(version_base="1.3", config_path="pkg://dlrun.conf", config_name="train")
    def nothing(config: Any) -> None:
        """Hydra prints and returns before this is called."""

    nothing()
    return 0
