"""`dlrun resume RUN`: the same run, the same folder, the exact step."""

from pathlib import Path

from dlrun.commands.arguments import Parser


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
    options = parser.parse_args(arguments)

    from dlrun.commands.console import log_to, make_console
    from dlrun.config.check import check
    from dlrun.config.recorded import completed
    from dlrun.runs.index import find_run
    from dlrun.runs.status import read_status

    folder = find_run(options.run, Path(options.outputs))
    plain = folder.read_config()
    console = make_console()
    log_to(console)
    status = read_status(folder)
    if status is not None and status.state == "completed":
        console.print(f"{folder}: complete already, {status.step} steps; nothing to do")
        return 0
    config = check(completed(plain))

    from dlrun.commands.present import present
    from dlrun.training.run import train

    present(train(config, folder, console), console)
    return 0
