"""`dlrun rm`: runs deleted with everything in their folders."""

from dlrun.commands.parsers import parse


def run(arguments: list[str]) -> int:
    """Deletes; 1 if something could not be deleted."""
    options = parse("rm", arguments)

    from dlrun.console import Console
    from dlrun.runs.removal import selected_items
    from dlrun.runs.run import runs_below
    from dlrun.runs.select import select
    from dlrun.views.deletion import delete

    selection = select(options.what, options.outputs)
    items, notes = selected_items(selection, runs_below(options.outputs))
    return delete(items, notes, options.dry_run, options.yes, Console())
