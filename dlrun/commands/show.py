"""`dlrun show RUN`: one run in detail."""

from pathlib import Path

from dlrun.commands.arguments import Parser


def run(arguments: list[str]) -> int:
    """Prints status, numbers, pictures and the config."""
    parser = Parser(prog="dlrun show", description="One run in detail.")
    parser.add_argument(
        "run", help="a run's folder, its name, the beginning of its name, or 'last'"
    )
    parser.add_argument(
        "--outputs", default="outputs", help="where names are looked for (%(default)s)"
    )
    options = parser.parse_args(arguments)

    from dlrun.commands.console import make_console
    from dlrun.runs.select import find_run
    from dlrun.views.summary import print_run

    found = find_run(options.run, Path(options.outputs))
    found.folder.read_config()  # says what is wrong with a damaged one
    print_run(found, make_console())
    return 0
