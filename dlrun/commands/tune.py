"""`dlrun tune`: a study whose trials are ordinary runs."""

import os
from importlib.util import find_spec

from dlrun.commands.parsers import parse, parser_of
from dlrun.errors import UserError
from dlrun.runs.signals import termination_raises


def run(arguments: list[str]) -> int:
    """Runs trials until there are as many as were asked for.

    Returns:
        1 where one failed or was interrupted, or none is completed.
    """
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    options = parse("tune", arguments)
    if options.help:
        from dlrun.config.help import section_help

        print(parser_of("tune").format_help())
        print("\n".join(["Keys of the study:", *section_help("tune", "sweep")]))
        print("\nAll groups and keys: dlrun train --help")
        return 0
    if find_spec("optuna") is None:
        raise UserError("dlrun tune needs Optuna: pip install 'dlrun[tune]'")

    from dlrun.console import Console, log_to
    from dlrun.sweeps.tune import tune

    console = Console()
    log_to(console)
    with termination_raises():
        return tune(options.overrides, options.config_dir, console)
