"""`dlrun resume RUN`: the same run, the same folder, the exact step."""

from dataclasses import replace
from pathlib import Path

from dlrun.commands.arguments import Parser
from dlrun.errors import UserError


def run(arguments: list[str]) -> int:
    """Goes on with one run; does nothing to one that is complete."""
    parser = Parser(
        prog="dlrun resume",
        description="Go on with a run that was interrupted, killed or failed, at the step of its "
        "last checkpoint. The config is the run's own; to change it, start another run.",
    )
    parser.add_argument(
        "run", help="a run's folder, its name, the beginning of its name, or 'last'"
    )
    parser.add_argument(
        "--outputs", default="outputs", help="where runs are looked for (%(default)s)"
    )
    parser.add_argument(
        "--devices",
        type=int,
        help="processes that go on together, where it is to be another number than before",
    )
    options = parser.parse_args(arguments)
    if options.devices is not None and options.devices < 1:
        raise UserError(f"--devices: got {options.devices}, expected an integer >= 1")

    from dlrun.runs.select import find_run

    found = find_run(options.run, Path(options.outputs))
    folder, plain = found.folder, found.folder.read_config()
    if found.is_complete:
        print(f"{folder}: complete already, {found.step} steps; nothing to do")
        return 0

    from dlrun.commands.start import resume
    from dlrun.config.check import check
    from dlrun.sweeps.launch import missing_processes, relaunch

    config = check(plain)
    if options.devices is not None:
        config = replace(config, hardware=replace(config.hardware, devices=options.devices))
    count = missing_processes(config)
    if count > 1:
        return relaunch(["resume", *arguments], count)
    resume(config, folder)
    return 0
