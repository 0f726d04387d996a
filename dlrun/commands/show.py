"""`dlrun show RUN`: one run in detail."""

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Prints status, metrics, pictures and the config."""
    options = parse("show", arguments)

    from dlrun.console import Console
    from dlrun.runs.select import find_run
    from dlrun.views.summary import print_run

    found = find_run(options.run, options.outputs)
    found.folder.read_config()  # says what is wrong with a damaged one
    print_run(found, Console())
    return 0
